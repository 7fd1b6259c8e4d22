#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hadal::text {

/// One `Split` of a tokenizer.json (behaviour "Isolated"): a regular expression that cuts a text into its matches and
/// the gaps between them. Immutable; split() may be called by several threads at once.
///
/// The patterns are written for another engine than PCRE2, so only what means the same in both is accepted: literals,
/// classes without nesting, `\p` of L, M, N, P, S, Z, `\s`, `\S`, `\r \n \t`, `\x{...}`, groups `(?:`, `(?i:`,
/// look-ahead and look-behind, `|` and quantifiers. Classes and `\s` are those of Unicode 16 (unicode_additions.h).
class RegexSplit {
 public:
  /// Errors: kUnsupported (a construct outside the subset, or a pattern that matches the empty text), kCorrupt (PCRE2
  /// cannot compile it). Messages hold the offset, not the place of the pattern.
  [[nodiscard]] static Result<RegexSplit> compile(std::string_view pattern);

  /// Appends the end offsets of the pieces of `text` (well-formed UTF-8), ascending; the last is `base` + its size.
  /// `base` is added to every offset. Error: kResourceExhausted when the pattern needs too many steps.
  [[nodiscard]] Status split(std::string_view text, std::int64_t base, std::vector<std::int64_t>& ends) const;

  RegexSplit(RegexSplit&&) noexcept;
  RegexSplit& operator=(RegexSplit&&) noexcept;
  ~RegexSplit();

 private:
  struct Code;
  explicit RegexSplit(std::unique_ptr<Code> code);
  std::unique_ptr<Code> code_;
};

/// The pattern as it is given to PCRE2: classes extended to Unicode 16. Errors as compile().
[[nodiscard]] Result<std::string> translate_pattern(std::string_view pattern);

}  // namespace hadal::text
