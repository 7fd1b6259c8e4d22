#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "text/bpe.h"
#include "text/token_index.h"
#include "text/tokenizer_json.h"

namespace hadal::text {

/// The tokens of a tokenizer.json by id, checked against each other.
class Vocabulary {
 public:
  /// `index` is that of the file's vocabulary. Errors: kCorrupt (an id or a token twice, an added token that
  /// contradicts the model, no token for some byte), kUnsupported (an added token that is empty or longer than
  /// StringMatcher takes).
  [[nodiscard]] static Result<Vocabulary> build(const TokenizerJson& file, const TokenIndex& index);

  [[nodiscard]] std::int64_t size() const { return static_cast<std::int64_t>(flags_.size()); }
  [[nodiscard]] std::string_view bytes(std::int32_t id) const {
    const auto at = static_cast<std::size_t>(id);
    return std::string_view(blob_).substr(begins_[at], begins_[at + 1] - begins_[at]);
  }
  [[nodiscard]] bool has(std::int32_t id) const { return flag(id, kExists); }
  [[nodiscard]] bool is_added(std::int32_t id) const { return flag(id, kAdded); }
  [[nodiscard]] bool is_special(std::int32_t id) const { return flag(id, kSpecial); }
  [[nodiscard]] std::optional<std::int32_t> added_id(std::string_view content) const;
  [[nodiscard]] const std::array<std::int32_t, 256>& byte_ids() const { return byte_ids_; }

 private:
  enum Flag : std::uint8_t { kExists = 1, kAdded = 2, kSpecial = 4 };
  [[nodiscard]] bool flag(std::int32_t id, Flag flag) const {
    return id >= 0 && id < size() && (flags_[static_cast<std::size_t>(id)] & flag) != 0;
  }

  std::string blob_;                   // bytes of all tokens, by id
  std::vector<std::uint32_t> begins_;  // by id, one more at the end
  std::vector<std::uint8_t> flags_;
  std::vector<std::pair<std::string, std::int32_t>> added_;  // sorted by content
  std::array<std::int32_t, 256> byte_ids_{};
};

/// The merges of `file` as ids; `index` is that of its vocabulary. Errors: kCorrupt (a part or result that is no token,
/// a pair twice).
[[nodiscard]] Result<std::vector<Merge>> resolve_merges(const TokenizerJson& file, const TokenIndex& index);

}  // namespace hadal::text
