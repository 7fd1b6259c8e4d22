#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "text/chat_message.h"

namespace hadal::text {

enum class Role : std::uint8_t { kSystem, kUser, kDeveloper, kLatestReminder, kAssistant, kUnknown };

/// A piece of a user turn: a whole content, one part of a content list, or the result of a tool.
struct Block {
  const Message* message = nullptr;
  const ContentPart* part = nullptr;  // set when the content is a list and this is no tool result
  bool tool_result = false;
};

/// One message of the prompt. Points into the messages it was built from.
struct Turn {
  Role role = Role::kUnknown;
  const Message* message = nullptr;  // the first one of a merged user turn
  int message_index = 0;
  bool in_context = false;
  std::vector<Block> blocks;  // kUser only
  std::optional<std::string> task;
  bool keeps_reasoning = true;
};

/// A chat after merging, sorting and dropping: what the official encoder renders.
struct Conversation {
  std::vector<Turn> turns;
  std::size_t first_shown = 0;  // turns before it are context
  std::int64_t last_user = -1;  // index of the last user or developer turn
  bool drop_thinking = true;    // as given, but false when any message has tools
};

/// Steps before rendering, in the official order: merge tool results and user texts into user turns, put the results
/// of one turn into the order of the calls they answer, then (thinking mode) drop the reasoning of earlier turns.
[[nodiscard]] Conversation build_conversation(std::span<const Message> messages, std::span<const Message> context,
                                              bool thinking, bool drop_thinking);

}  // namespace hadal::text
