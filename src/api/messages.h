#pragma once

#include <cstdint>
#include <vector>

#include "api/fields.h"
#include "text/chat_message.h"

namespace hadal::api {

struct ChatMessages {
  std::vector<text::Message> list{};
  bool continues = false;              // the last one is the beginning of the answer
  std::int64_t reasoning_missing = 0;  // turns with calls and without the member reasoning_content
};

/// `messages` of a chat, in the form of the prompt's encoder.
[[nodiscard]] ChatMessages read_messages(Family family, Fields& fields);

}  // namespace hadal::api
