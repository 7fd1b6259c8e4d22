#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "text/regex_split.h"
#include "text/v4_scanner.h"

namespace hadal::text {

/// The splits of a tokenizer.json in sequence: each cuts every piece of the one before, seeing that piece alone.
class PreTokenizer {
 public:
  /// V4's own patterns take the one-pass scanner, others PCRE2. Errors as RegexSplit::compile, with the number of the
  /// split.
  [[nodiscard]] static Result<PreTokenizer> compile(const std::vector<std::string>& patterns);

  [[nodiscard]] bool is_v4() const { return is_v4_; }

  /// Calls piece(std::string_view) for each piece of `text` (well-formed UTF-8) in order. Errors as RegexSplit::split.
  template <class Piece>
  Status for_each_piece(std::string_view text, Piece&& piece) const {
    if (is_v4_) {
      const char* const end = text.data() + text.size();
      for (const char* at = text.data(); at < end;) {
        const char* const next = scanner_.piece_end(at, end);
        piece(std::string_view(at, static_cast<std::size_t>(next - at)));
        at = next;
      }
      return {};
    }
    HADAL_ASSIGN(const std::vector<std::int64_t> ends, piece_ends(text));
    std::size_t at = 0;
    for (const std::int64_t end : ends) {
      piece(text.substr(at, static_cast<std::size_t>(end) - at));
      at = static_cast<std::size_t>(end);
    }
    return {};
  }

  /// The definition: ends of the pieces, by PCRE2.
  [[nodiscard]] Result<std::vector<std::int64_t>> piece_ends(std::string_view text) const;

 private:
  PreTokenizer() = default;
  bool is_v4_ = false;
  V4Scanner scanner_;
  std::vector<RegexSplit> splits_;
};

}  // namespace hadal::text
