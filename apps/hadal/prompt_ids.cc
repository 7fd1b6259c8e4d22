#include "prompt_ids.h"

#include <fmt/format.h>

#include <charconv>
#include <string>

namespace hadal::apps {

Result<std::vector<std::int64_t>> parse_ids(std::string_view text, bool have_tokenizer) {
  constexpr std::string_view kSeparators = " \t\r\n,[]";
  std::vector<std::int64_t> ids;
  for (std::size_t begin = 0; (begin = text.find_first_not_of(kSeparators, begin)) != std::string_view::npos;) {
    const std::size_t end = std::min(text.find_first_of(kSeparators, begin), text.size());
    const std::string_view word = text.substr(begin, end - begin);
    std::int64_t id = 0;
    const auto [stop, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc() || stop != word.data() + word.size()) {
      constexpr std::size_t kShown = 40;
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("'{}' is no token id{}", word.substr(0, kShown),
                              have_tokenizer ? ""
                                             : "; this checkpoint has no tokenizer, so the prompt must be token ids, "
                                               "such as \"1 2 3\" (or name one by --tokenizer)"));
    }
    ids.push_back(id);
    begin = end;
  }
  return ids;
}

}  // namespace hadal::apps
