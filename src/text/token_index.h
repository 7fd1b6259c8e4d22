#pragma once

#include <bit>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "text/tokenizer_json.h"

namespace hadal::text {

/// Ids of the model's tokens by spelling. Lives while a file is being read and views its strings.
class TokenIndex {
 public:
  /// Of a token that stands twice the first id is kept; Vocabulary::build refuses such a file.
  explicit TokenIndex(const std::vector<TokenizerJson::VocabEntry>& vocab)
      : vocab_(&vocab), slots_(std::bit_ceil(vocab.size() * 2 + 1)) {
    for (std::size_t entry = 0; entry < vocab.size(); ++entry) {
      const std::size_t hash = hash_of(vocab[entry].token);
      Slot& slot = slots_[place(hash, vocab[entry].token)];
      if (slot.entry == 0) slot = {static_cast<std::uint32_t>(hash), static_cast<std::uint32_t>(entry) + 1};
    }
  }

  [[nodiscard]] std::optional<std::int32_t> id(std::string_view token) const {
    const Slot& slot = slots_[place(hash_of(token), token)];
    if (slot.entry == 0) return std::nullopt;
    return (*vocab_)[slot.entry - 1].id;
  }

 private:
  struct Slot {
    std::uint32_t hash = 0;   // low half; spares most comparisons of strings
    std::uint32_t entry = 0;  // 1 + place in the vocabulary; 0: empty
  };
  [[nodiscard]] static std::size_t hash_of(std::string_view token) { return std::hash<std::string_view>()(token); }
  // Where the token is, or would be put.
  [[nodiscard]] std::size_t place(std::size_t hash, std::string_view token) const {
    std::size_t at = hash >> 32 & (slots_.size() - 1);
    while (slots_[at].entry != 0) {
      const Slot& slot = slots_[at];
      if (slot.hash == static_cast<std::uint32_t>(hash) && (*vocab_)[slot.entry - 1].token == token) break;
      at = (at + 1) & (slots_.size() - 1);
    }
    return at;
  }

  const std::vector<TokenizerJson::VocabEntry>* vocab_;
  std::vector<Slot> slots_;
};

}  // namespace hadal::text
