#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace hadal {

/// Class of an error. Programs map it to an exit code, the server to an HTTP status; nobody parses messages.
enum class ErrorCode : std::uint8_t {
  kInvalidArgument,    // the caller's request is wrong
  kNotFound,           // a named thing does not exist
  kCorrupt,            // a file or message breaks its format
  kUnsupported,        // valid, but outside what Hadal does
  kUnimplemented,      // a backend lacks an operator
  kResourceExhausted,  // memory, disk, pages, descriptors
  kUnavailable,        // I/O failed, worth another try
  kCancelled,
  kDeadlineExceeded,
  kInternal,
};

/// The code's name as it is printed ("invalid argument").
[[nodiscard]] std::string_view name(ErrorCode code);

/// One failure: its class and one sentence that says what was wrong, where, and what to do.
struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
};

template <class T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

/// `return fail(ErrorCode::kCorrupt, "...")` from any function that returns a Result.
[[nodiscard]] inline tl::unexpected<Error> fail(ErrorCode code, std::string message) {
  return tl::unexpected<Error>(Error{code, std::move(message)});
}

}  // namespace hadal

#define HADAL_CONCAT_INNER(a, b) a##b
#define HADAL_CONCAT(a, b) HADAL_CONCAT_INNER(a, b)

/// Returns the error of `expr` (a Status or Result) from the enclosing function, if it has one.
#define HADAL_TRY(expr)                                                           \
  do {                                                                            \
    if (auto hadal_try_result = (expr); !hadal_try_result) {                      \
      return tl::unexpected<::hadal::Error>(std::move(hadal_try_result).error()); \
    }                                                                             \
  } while (false)

/// `HADAL_ASSIGN(auto file, open(path))`: declares or assigns the value, or returns the error.
#define HADAL_ASSIGN(target, expr) HADAL_ASSIGN_INNER(HADAL_CONCAT(hadal_result_, __LINE__), target, expr)
#define HADAL_ASSIGN_INNER(result, target, expr)                      \
  auto result = (expr);                                               \
  if (!result) {                                                      \
    return tl::unexpected<::hadal::Error>(std::move(result).error()); \
  }                                                                   \
  target = std::move(*result)
