#pragma once

#include <string_view>

#include "text/unicode_classes.h"

namespace hadal::text {

/// V4's pre-tokenizer in one pass: the three splits of its tokenizer.json, of which each sees the pieces of the one
/// before, come out as a walk that decides every piece from its first characters:
///   numbers            in threes from the left (first split);
///   a run of han/kana  is a stretch of its own (second split);
///   what lies between  is a stretch that ends at the next number or han character.
/// Inside a stretch the third split's alternatives apply, and its end counts as the end of the text. Linear time, no
/// allocation. The definition is the chain of PCRE2 splits in regex_split.h, against which it is tested.
class V4Scanner {
 public:
  V4Scanner() : classes_(&ClassTable::get()) {}

  /// End of the piece that begins at `begin` (< `end`), a border between pieces of the well-formed text up to `end`.
  [[nodiscard]] const char* piece_end(const char* begin, const char* end) const;

 private:
  const ClassTable* classes_;
};

/// The patterns of V4's splits, as they stand in its tokenizer.json.
inline constexpr std::string_view kV4Patterns[] = {
    R"(\p{N}{1,3})",
    "[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+",
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^)"
    "\r\n"
    R"(\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[)"
    "\r\n"
    R"(]*|\s*[)"
    "\r\n"
    R"(]+|\s+(?!\S)|\s+)",
};

}  // namespace hadal::text
