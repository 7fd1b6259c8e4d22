#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/chat_message.h"

namespace hadal::api {

/// What was altered in a request: for the log, so without any text of the client.
struct StableText {
  std::int64_t message = 0;   // index of the system message
  std::string_view what{};    // name of the rule
  std::int64_t replaced = 0;  // bytes that came
};

/// Texts of some clients carry a value that is new in every request, in front of all else: no prefix would ever be
/// found again. In a system text that begins with `x-anthropic-billing-header:` the value of `cch` becomes 0; all else
/// stays. For the families whose clients send it; a server may leave it out. Returns what it did.
[[nodiscard]] std::vector<StableText> make_stable(std::vector<text::Message>& messages);

}  // namespace hadal::api
