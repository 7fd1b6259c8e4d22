#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "text/json_text.h"

namespace hadal::text {

/// One part of a content that was given as a list. Only `type` "text" has a text here.
struct ContentPart {
  std::string type{};
  std::string text{};
};

/// A message's content: a text, or a list of parts. A null content is the empty text.
struct Content {
  std::string text{};
  std::vector<ContentPart> parts{};
  bool is_list = false;
};

/// A tool call in a message of the assistant.
struct ToolCall {
  std::string id{};           // "" when the message has none
  std::string function_id{};  // an id inside the function object; used when `id` is empty
  std::string name{};
  std::string arguments{};  // JSON text of an object
  /// Set when the arguments came as a JSON value instead of a text: shown as one parameter named `arguments`, as the
  /// official encoder does. Servers turn an object into text first.
  std::optional<JsonValue> arguments_value{};
};

/// One message of a chat in the official encoder's form. `role` is a text, not an enum: an unknown role is an error
/// only where the message would be shown.
struct Message {
  std::string role;  // system, user, assistant, tool, latest_reminder, developer
  Content content{};
  std::string reasoning_content{};
  std::vector<ToolCall> tool_calls{};
  std::string tool_call_id{};                  // role tool: which call this answers
  std::vector<JsonValue> tools{};              // OpenAI form; on system or developer
  std::optional<JsonValue> response_format{};  // on system or developer
  std::optional<std::string> task{};           // action, query, authority, domain, title, read_url
  bool wo_eos = false;                         // assistant: leave the message open, to be continued
  /// Last message, assistant, thinking mode: `reasoning_content` is unfinished, the prompt ends inside it. Not known to
  /// the official encoder.
  bool continue_reasoning = false;
};

/// The two text encodings that official releases use; they differ in the texts of the reasoning effort only.
enum class ChatRevision : std::uint8_t {
  k2604,  // first release
  k0731,  // July release
};

}  // namespace hadal::text
