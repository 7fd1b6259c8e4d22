#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/json_object_state.h"
#include "text/tokenizer.h"

namespace hadal::engine {

/// The ordinary tokens of a vocabulary in the order of their bytes, to find those that may come next. Immutable, and
/// shared by all answers.
class SortedTokens {
 public:
  /// `tokenizer` must outlive it; `vocab_size` is the model's. Added tokens (markers, end of sentence) are left out.
  SortedTokens(const text::Tokenizer& tokenizer, std::int64_t vocab_size);

  [[nodiscard]] std::int64_t vocab_size() const { return vocab_size_; }
  [[nodiscard]] std::string_view bytes(std::int64_t token) const {
    return tokenizer_.token_bytes(static_cast<std::int32_t>(token));
  }
  /// Sets the bit of every token all of whose bytes can follow, in `mask` [(vocab_size + 63) / 64], zero before. Each
  /// beginning that tokens share is looked at once.
  void allow(const JsonObjectState& state, std::span<std::uint64_t> mask) const;

 private:
  struct Token {
    std::int32_t id = 0;
    std::int32_t common = 0;  // bytes shared with the token before
  };

  const text::Tokenizer& tokenizer_;
  std::int64_t vocab_size_;
  std::size_t longest_ = 0;
  std::vector<Token> tokens_;
};

/// Holds one answer to a JSON object: which tokens may come next, and nothing else than the stop token once it is
/// complete. Cut off by a limit, the text is the beginning of one.
class JsonConstraint {
 public:
  explicit JsonConstraint(std::shared_ptr<const SortedTokens> tokens) : tokens_(std::move(tokens)) {}

  [[nodiscard]] bool complete() const { return state_.complete(); }
  /// Bits of the tokens that may come next; valid until the next call.
  [[nodiscard]] std::span<const std::uint64_t> allowed();
  /// Takes a token. False: it is none of the allowed ones.
  [[nodiscard]] bool push(std::int64_t token);

 private:
  static constexpr std::size_t kMostMasks = 8;

  std::shared_ptr<const SortedTokens> tokens_;
  JsonObjectState state_;
  // Masks of the last states, since most steps stand inside a string.
  std::vector<std::pair<JsonObjectState, std::vector<std::uint64_t>>> masks_;
  std::size_t next_ = 0;
};

}  // namespace hadal::engine
