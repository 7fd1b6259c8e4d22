#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace hadal::text {

/// Ids of a tokenizer.json lie below this.
inline constexpr std::int64_t kMaxVocabSize = std::int64_t{1} << 24;

/// The parts of a tokenizer.json that have a meaning, in the file's order and spelling; ids are in range, nothing else
/// is checked across entries.
struct TokenizerJson {
  struct AddedToken {
    std::int32_t id = 0;
    std::string content;
    bool normalized = false;
    bool special = false;
  };
  struct VocabEntry {
    std::string token;  // in the byte characters of GPT-2's table
    std::int32_t id = 0;
  };
  struct Merge {
    std::string left;
    std::string right;
  };
  std::vector<AddedToken> added_tokens;
  std::vector<std::string> split_patterns;
  std::vector<VocabEntry> vocab;
  std::vector<Merge> merges;
  bool ignore_merges = false;
};

/// Reads the subset of the format that V4 uses. Errors, naming the field: kCorrupt (not JSON, wrong types, ids out of
/// range), kUnsupported (a feature outside the subset: other normalizers, pre-tokenizers, decoders or models, stripping
/// or whole-word added tokens, dropout, unknown tokens, prefixes), kResourceExhausted (too deep or too many values).
[[nodiscard]] Result<TokenizerJson> read_tokenizer_json(std::string_view json);

}  // namespace hadal::text
