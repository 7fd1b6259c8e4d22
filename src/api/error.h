#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

namespace hadal::api {

/// Whose API a path belongs to. Decides ids, usage, errors and the final chunk; decided by the path alone.
enum class Family : std::uint8_t { kDeepSeek, kOpenAi };

/// Why a request fails.
enum class Cause : std::uint8_t {
  kMalformed,      // not JSON, a wrong type, a missing field
  kInvalidValue,   // out of range or not allowed
  kPromptTooLong,  // for the context
  kWrongKey,
  kNoKey,
  kNoBalance,
  kNotPermitted,  // the key may not use this model or endpoint
  kUnknownModel,
  kUnknownPath,
  kWrongMethod,
  kWrongMediaType,
  kBodyTooLarge,
  kTooManyRequests,
  kTooManyTokens,
  kOverloaded,  // queue full, draining, model loading
  kInternal,
  kTimeLimit,  // of the request
  kSlowBody,
};

/// One failure as a client sees it: English, one line, without keys, prompts or paths.
struct ApiError {
  Cause cause = Cause::kInternal;
  std::string message{};
  std::string param{};  // path of the field; "" when there is none
};

template <class T>
using ApiResult = tl::expected<T, ApiError>;

/// The beginning of a client's text for a message: at most `most` bytes, whole characters, in one line.
[[nodiscard]] std::string excerpt(std::string_view text, std::size_t most = 64);

[[nodiscard]] inline tl::unexpected<ApiError> refuse(Cause cause, std::string message, std::string param = {}) {
  return tl::unexpected<ApiError>(ApiError{cause, std::move(message), std::move(param)});
}

/// HTTP status of a cause.
[[nodiscard]] int http_status(Family family, Cause cause);

/// Value of `x-should-retry`, which official clients obey; nothing when the header is not sent.
[[nodiscard]] std::optional<bool> should_retry(Family family, Cause cause);

/// Whether `retry-after` belongs to the answer.
[[nodiscard]] bool names_retry_time(Family family, Cause cause);

/// {"error":{"message","type","param","code"}} in one line.
[[nodiscard]] std::string error_body(Family family, const ApiError& error);

/// The same as the last event of a stream that cannot go on; no [DONE] follows it.
[[nodiscard]] std::string error_event(Family family, const ApiError& error);

/// Message for a request without a key.
[[nodiscard]] std::string no_key_message(Family family);

/// Message for a wrong key: shows its last four characters to DeepSeek's clients, nothing to others.
[[nodiscard]] std::string wrong_key_message(Family family, std::string_view key);

}  // namespace hadal::api
