#pragma once

#include <fmt/core.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string_view>

#include "base/result.h"

namespace hadal {

/// The error of a system call that has just failed and set errno: "PATH: cannot ACTION: REASON". kNotFound,
/// kResourceExhausted (disk or quota full, a limit on the size of files) or kUnavailable.
[[nodiscard]] inline tl::unexpected<Error> system_error(const std::filesystem::path& path, std::string_view action) {
  const int number = errno;
  const ErrorCode code = number == ENOENT || number == ENOTDIR                     ? ErrorCode::kNotFound
                         : number == ENOSPC || number == EDQUOT || number == EFBIG ? ErrorCode::kResourceExhausted
                                                                                   : ErrorCode::kUnavailable;
  const std::string_view advice =
      code == ErrorCode::kResourceExhausted ? "; free some room or choose another place" : "";
  return fail(code, fmt::format("{}: cannot {}: {}{}", path.string(), action, std::strerror(number), advice));
}

}  // namespace hadal
