#include "text/pre_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>

namespace hadal::text {

Result<PreTokenizer> PreTokenizer::compile(const std::vector<std::string>& patterns) {
  PreTokenizer pre_tokenizer;
  pre_tokenizer.is_v4_ = std::equal(patterns.begin(), patterns.end(), std::begin(kV4Patterns), std::end(kV4Patterns));
  for (std::size_t split = 0; split < patterns.size(); ++split) {
    auto compiled = RegexSplit::compile(patterns[split]);
    if (!compiled) {
      return fail(compiled.error().code, fmt::format("pre_tokenizer: split {}: {}", split, compiled.error().message));
    }
    pre_tokenizer.splits_.push_back(*std::move(compiled));
  }
  return pre_tokenizer;
}

Result<std::vector<std::int64_t>> PreTokenizer::piece_ends(std::string_view text) const {
  std::vector<std::int64_t> ends;
  if (text.empty()) return ends;
  ends.push_back(static_cast<std::int64_t>(text.size()));
  std::vector<std::int64_t> finer;
  for (const RegexSplit& split : splits_) {
    finer.clear();
    std::int64_t begin = 0;
    for (const std::int64_t end : ends) {
      const auto piece = text.substr(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
      HADAL_TRY(split.split(piece, begin, finer));
      begin = end;
    }
    ends.swap(finer);
  }
  return ends;
}

}  // namespace hadal::text
