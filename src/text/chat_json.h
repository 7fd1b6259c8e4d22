#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/chat_message.h"
#include "text/chat_parser.h"
#include "text/chat_render.h"
#include "text/json_text.h"

// Chat structs <-> JSON in the form of the official encoder's messages (OpenAI form, tools on a message).
namespace hadal::text {

/// A list of messages. `where` begins the field names in errors ("messages"). Members that a message does not know are
/// ignored; null counts as absent. Error: kInvalidArgument with the field, when a member has another type.
[[nodiscard]] Result<std::vector<Message>> messages_from_json(const JsonValue& list, std::string_view where);

/// The inverse; members with their default value are left out, except `role` and `content`.
[[nodiscard]] JsonValue messages_to_json(std::span<const Message> messages);

/// Members thinking_mode, reasoning_effort, drop_thinking, add_bos; absent ones keep the value in `defaults`.
[[nodiscard]] Result<RenderOptions> render_options_from_json(const JsonValue& object, const RenderOptions& defaults);

/// Members thinking, tools, trim_newlines, lenient_dsml; absent ones keep the value in `defaults`.
[[nodiscard]] Result<ParserOptions> parser_options_from_json(const JsonValue& object, const ParserOptions& defaults);

/// {"reasoning_content", "content", "tool_calls": [{"name", "arguments", "complete"}], "warnings": [...]}
[[nodiscard]] JsonValue parsed_to_json(const ParsedMessage& message);

/// What the events make visible: "reasoning", "content", "arguments" (texts), "calls" (names of calls begun), "ends"
/// (number of calls ended); absent when nothing.
[[nodiscard]] JsonValue events_to_json(std::span<const ChatEvent> events);

/// A parsed message as a message of the assistant, for the next prompt. Calls get no ids.
[[nodiscard]] Message to_message(const ParsedMessage& parsed);

}  // namespace hadal::text
