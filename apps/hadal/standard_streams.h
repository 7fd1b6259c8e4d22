#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace hadal::apps {

/// All of standard input, at most `limit` bytes. Errors: kUnavailable, kResourceExhausted.
[[nodiscard]] Result<std::string> read_standard_input(std::int64_t limit);

/// Writes to standard output. Error: kUnavailable, with the system's reason.
[[nodiscard]] Status write_standard_output(std::string_view text);

/// Standard input as JSON lines: writes answer(line) and a newline for each line that is not blank, as they come. The
/// error of a line is returned with its number in front.
[[nodiscard]] Status answer_lines(const std::function<Result<std::string>(std::string_view line)>& answer);

}  // namespace hadal::apps
