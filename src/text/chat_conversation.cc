#include "text/chat_conversation.h"

#include <algorithm>
#include <iterator>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace hadal::text {
namespace {

Role role_of(const Message& message) {
  if (message.role == "system") return Role::kSystem;
  if (message.role == "user" || message.role == "tool") return Role::kUser;
  if (message.role == "developer") return Role::kDeveloper;
  if (message.role == "latest_reminder") return Role::kLatestReminder;
  if (message.role == "assistant") return Role::kAssistant;
  return Role::kUnknown;
}

void append_blocks(Turn& turn, const Message& message) {
  if (message.role == "tool") {
    turn.blocks.push_back({.message = &message, .tool_result = true});
  } else if (!message.content.is_list) {
    turn.blocks.push_back({.message = &message});
  } else {
    for (const ContentPart& part : message.content.parts) {
      turn.blocks.push_back({.message = &message, .part = &part});
    }
  }
}

/// Adds `messages` to `turns` without joining any of them to a turn that is already there.
void merge(std::vector<Turn>& turns, std::span<const Message> messages, bool in_context) {
  const std::size_t border = turns.size();
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const Message& message = messages[i];
    const bool tool = message.role == "tool";
    const Role role = role_of(message);
    const bool joins = role == Role::kUser && turns.size() > border && turns.back().role == Role::kUser &&
                       (tool || !turns.back().task);
    if (!joins) {
      Turn turn;
      turn.role = role;
      turn.message = &message;
      turn.message_index = static_cast<int>(i);
      turn.in_context = in_context;
      // A tool result starts a turn of its own; a task on it means nothing.
      if (!tool) turn.task = message.task;
      turns.push_back(std::move(turn));
    }
    if (role == Role::kUser) append_blocks(turns.back(), message);
  }
}

/// Sorts the tool results of each user turn by the order of the calls of the assistant turn before it.
void sort_results(std::vector<Turn>& turns) {
  std::unordered_map<std::string_view, std::size_t> order;  // call id -> place
  const auto place = [&](const Block& block) {
    const auto found = order.find(block.message->tool_call_id);
    return found == order.end() ? std::size_t{0} : found->second;
  };
  for (Turn& turn : turns) {
    if (turn.role == Role::kAssistant && !turn.message->tool_calls.empty()) {
      order.clear();
      for (std::size_t i = 0; i < turn.message->tool_calls.size(); ++i) {
        const ToolCall& call = turn.message->tool_calls[i];
        const std::string& id = call.id.empty() ? call.function_id : call.id;
        if (!id.empty()) order.insert_or_assign(id, i);
      }
    }
    if (turn.role != Role::kUser || order.empty()) continue;
    std::vector<Block> results;
    std::ranges::copy_if(turn.blocks, std::back_inserter(results), &Block::tool_result);
    std::vector<std::pair<std::size_t, std::size_t>>
        sorted;  // place, index in `results`: equal places keep their order
    for (std::size_t i = 0; i < results.size(); ++i) sorted.emplace_back(place(results[i]), i);
    std::ranges::sort(sorted);
    auto next = sorted.begin();
    for (Block& block : turn.blocks) {
      if (block.tool_result) block = results[(next++)->second];
    }
  }
}

std::int64_t last_user(std::span<const Turn> turns) {
  for (std::size_t i = turns.size(); i > 0; --i) {
    if (turns[i - 1].role == Role::kUser || turns[i - 1].role == Role::kDeveloper) {
      return static_cast<std::int64_t>(i) - 1;
    }
  }
  return -1;
}

/// Before the last user or developer turn: no reasoning, no developer turns, no unknown roles.
std::vector<Turn> drop_reasoning(std::vector<Turn> turns) {
  const std::int64_t last = last_user(turns);
  std::vector<Turn> kept;
  kept.reserve(turns.size());
  for (std::size_t i = 0; i < turns.size(); ++i) {
    Turn& turn = turns[i];
    if (static_cast<std::int64_t>(i) < last) {
      if (turn.role == Role::kDeveloper || turn.role == Role::kUnknown) continue;
      if (turn.role == Role::kAssistant) turn.keeps_reasoning = false;
    }
    kept.push_back(std::move(turn));
  }
  return kept;
}

bool has_tools(std::span<const Message> messages) {
  return std::ranges::any_of(messages, [](const Message& message) { return !message.tools.empty(); });
}

}  // namespace

Conversation build_conversation(std::span<const Message> messages, std::span<const Message> context, bool thinking,
                                bool drop_thinking) {
  Conversation result;
  merge(result.turns, context, true);
  std::size_t context_turns = result.turns.size();
  merge(result.turns, messages, false);
  sort_results(result.turns);
  result.drop_thinking = drop_thinking && !has_tools(messages) && !has_tools(context);
  if (thinking && result.drop_thinking) {
    // How many turns are shown is counted as the official encoder does: context alone, dropped by its own last user.
    const std::vector<Turn> context_alone(result.turns.begin(),
                                          result.turns.begin() + static_cast<std::ptrdiff_t>(context_turns));
    context_turns = drop_reasoning(context_alone).size();
    result.turns = drop_reasoning(std::move(result.turns));
  }
  result.first_shown = std::min(context_turns, result.turns.size());
  result.last_user = last_user(result.turns);
  return result;
}

}  // namespace hadal::text
