#pragma once

#include <string_view>

namespace hadal {

/// Prints the failed condition with its place to standard error and aborts. For programmer errors only: bytes from
/// outside never reach a check.
[[noreturn]] void check_failed(const char* file, int line, const char* condition, std::string_view message);

}  // namespace hadal

/// Aborts with file, line and message when `condition` is false; on in every build.
#define HADAL_CHECK(condition, message)                                 \
  do {                                                                  \
    if (!(condition)) [[unlikely]] {                                    \
      ::hadal::check_failed(__FILE__, __LINE__, #condition, (message)); \
    }                                                                   \
  } while (false)

#ifdef NDEBUG
#define HADAL_DCHECK(condition, message) \
  do {                                   \
  } while (false)
#else
#define HADAL_DCHECK(condition, message) HADAL_CHECK(condition, message)
#endif
