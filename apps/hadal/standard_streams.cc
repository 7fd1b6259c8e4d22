#include "standard_streams.h"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iostream>

namespace hadal::apps {

Result<std::string> read_standard_input(std::int64_t limit) {
  std::string text;
  std::array<char, 65536> buffer;
  while (const std::size_t count = std::fread(buffer.data(), 1, buffer.size(), stdin)) {
    text.append(buffer.data(), count);
    if (text.size() > static_cast<std::size_t>(limit)) {
      return fail(ErrorCode::kResourceExhausted, fmt::format("standard input: has more than {} bytes", limit));
    }
  }
  if (std::ferror(stdin) != 0) {
    return fail(ErrorCode::kUnavailable, fmt::format("standard input: cannot read it: {}", std::strerror(errno)));
  }
  return text;
}

Status write_standard_output(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    return fail(ErrorCode::kUnavailable, fmt::format("standard output: cannot write to it: {}", std::strerror(errno)));
  }
  return {};
}

Status answer_lines(const std::function<Result<std::string>(std::string_view line)>& answer) {
  std::string line;
  for (std::int64_t number = 1; std::getline(std::cin, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    auto answered = answer(line);
    if (!answered) {
      return fail(answered.error().code, fmt::format("standard input, line {}: {}", number, answered.error().message));
    }
    HADAL_TRY(write_standard_output(*answered + "\n"));
  }
  return {};
}

}  // namespace hadal::apps
