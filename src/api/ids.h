#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "api/error.h"

namespace hadal::api {

/// Gives 64 random bits; the server takes them from the kernel, tests from a counter.
using RandomBits = std::function<std::uint64_t()>;

/// Id of a chat completion: a UUID of version 4 in DeepSeek's family, "chatcmpl-" and 32 hexadecimal digits in
/// OpenAI's.
[[nodiscard]] std::string chat_id(Family family, const RandomBits& random);
/// Id of a text completion: a UUID of version 4, or "cmpl-" and 32 hexadecimal digits.
[[nodiscard]] std::string completion_id(Family family, const RandomBits& random);
/// Id of a tool call: "call_00_" with the call's index, or "call_", and 24 letters or digits.
[[nodiscard]] std::string call_id(Family family, int index, const RandomBits& random);
/// "fp_" and 10 hexadecimal digits of everything that equal answers to equal seeds depend on.
[[nodiscard]] std::string fingerprint(std::string_view parts);
/// "req_" and 24 letters or digits.
[[nodiscard]] std::string request_id(const RandomBits& random);

}  // namespace hadal::api
