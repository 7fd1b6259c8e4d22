#include "text/chat_render.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "base/log.h"
#include "base/mapped_file.h"
#include "text/chat_conversation.h"
#include "text/chat_markers.h"

namespace hadal::text {

std::string_view name(RenderProblem problem) {
  switch (problem) {
    case RenderProblem::kUnknownRole:
      return "unknown_role";
    case RenderProblem::kDeveloperWithoutContent:
      return "developer_without_content";
    case RenderProblem::kUnknownTask:
      return "unknown_task";
    case RenderProblem::kUnknownThinkingMode:
      return "unknown_thinking_mode";
    case RenderProblem::kUnknownEffort:
      return "unknown_effort";
    case RenderProblem::kArgumentsNotAnObject:
      return "arguments_not_an_object";
    case RenderProblem::kInvalidArguments:
      return "invalid_arguments";
    case RenderProblem::kInvalidTool:
      return "invalid_tool";
    case RenderProblem::kInvalidContent:
      return "invalid_content";
    case RenderProblem::kInvalidContinuation:
      return "invalid_continuation";
  }
  return "unknown";
}

namespace {

constexpr std::string_view kAbsoluteEffort =
    "Reasoning Effort: Absolute maximum with no shortcuts permitted.\n"
    "You MUST be very thorough in your thinking and comprehensively decompose the problem to resolve the root cause, "
    "rigorously stress-testing your logic against all potential paths, edge cases, and adversarial scenarios.\n"
    "Explicitly write out your entire deliberation process, documenting every intermediate step, considered "
    "alternative, and rejected hypothesis to ensure absolutely no assumption is left unchecked.\n\n";

constexpr std::string_view kBeyondEffort =
    "Reasoning Effort: Beyond maximum — exhaustive, relentless, and uncompromising.\n"
    "You MUST reason with the utmost depth and rigor, leaving absolutely nothing to chance: exhaustively decompose the "
    "problem into its most fundamental components, trace every causal chain to its root, and resolve the underlying "
    "cause rather than any surface symptom.\n"
    "Do not stop reasoning until you have independently verified the solution from multiple angles and are certain "
    "that no assumption remains unchecked and no error remains undiscovered.\n\n";

constexpr std::string_view kToolsHead =
    "## Tools\n\n"
    "You have access to a set of tools to help answer the user's question. You can invoke tools by writing a "
    "\"<｜DSML｜tool_calls>\" block like the following:\n\n"
    "<｜DSML｜tool_calls>\n"
    "<｜DSML｜invoke name=\"$TOOL_NAME\">\n"
    "<｜DSML｜parameter name=\"$PARAMETER_NAME\" string=\"true|false\">$PARAMETER_VALUE</｜DSML｜parameter>\n"
    "...\n"
    "</｜DSML｜invoke>\n"
    "<｜DSML｜invoke name=\"$TOOL_NAME2\">\n"
    "...\n"
    "</｜DSML｜invoke>\n"
    "</｜DSML｜tool_calls>\n\n"
    "String parameters should be specified as is and set `string=\"true\"`. For all other types (numbers, booleans, "
    "arrays, objects), pass the value in JSON format and set `string=\"false\"`.\n\n"
    "If thinking_mode is enabled (triggered by <think>), you MUST output your complete reasoning inside "
    "<think>...</think> BEFORE any tool calls or final response.\n\n"
    "Otherwise, output directly after </think> with tool calls or final response.\n\n"
    "### Available Tool Schemas\n\n";

constexpr std::string_view kToolsTail =
    "\n\nYou MUST strictly follow the above defined tool name and parameter schemas to invoke tool calls.\n";

constexpr std::string_view kResponseFormatHead =
    "## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n";

constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kTasks{{{"action", "<｜action｜>"},
                                                                               {"query", "<｜query｜>"},
                                                                               {"authority", "<｜authority｜>"},
                                                                               {"domain", "<｜domain｜>"},
                                                                               {"title", "<｜title｜>"},
                                                                               {"read_url", "<｜read_url｜>"}}};

/// The text before message 0; nothing when the revision does not know the effort.
std::optional<std::string_view> effort_text(ChatRevision revision, const std::optional<std::string>& effort) {
  if (!effort) return "";
  if (revision == ChatRevision::k2604) {
    if (*effort == "high") return "";
    if (*effort == "max") return kAbsoluteEffort;
    return std::nullopt;
  }
  if (*effort == "low") return "";
  if (*effort == "high") return kAbsoluteEffort;
  if (*effort == "max") return kBeyondEffort;
  return std::nullopt;
}

/// Collects the prompt and notes which bytes the caller wrote.
class PromptWriter {
 public:
  void fixed(std::string_view text) { prompt.text += text; }

  void caller(std::string_view text) {
    if (text.empty()) return;
    const auto begin = static_cast<std::int64_t>(prompt.text.size());
    prompt.text += text;
    const auto end = static_cast<std::int64_t>(prompt.text.size());
    if (!prompt.caller_ranges.empty() && prompt.caller_ranges.back().end == begin) {
      prompt.caller_ranges.back().end = end;
    } else {
      prompt.caller_ranges.push_back({begin, end});
    }
  }

  RenderedPrompt prompt;
};

/// Writes the turns of a conversation. Every function returns false after noting the problem.
class Renderer {
 public:
  Renderer(const Conversation& conversation, bool thinking) : turns_(conversation), thinking_(thinking) {}

  bool render(std::string_view effort) {
    for (std::size_t i = turns_.first_shown; i < turns_.turns.size(); ++i) {
      if (i == 0 && thinking_) out_.fixed(effort);
      if (!body(i) || !tail(i)) return false;
    }
    return true;
  }

  void bos() { out_.fixed(marker::kBos); }
  RenderedPrompt take() { return std::move(out_.prompt); }
  RenderError take_error() { return std::move(error_); }

 private:
  const Turn& at(std::size_t i) const { return turns_.turns[i]; }
  bool is_last(std::size_t i) const { return i + 1 == turns_.turns.size(); }
  bool after_last_user(std::size_t i) const { return static_cast<std::int64_t>(i) > turns_.last_user; }

  bool refuse(const Turn& turn, RenderProblem problem, std::string field, std::string_view what) {
    error_.problem = problem;
    error_.message = turn.message_index;
    error_.in_context = turn.in_context;
    error_.sentence =
        fmt::format("{}[{}].{}: {}", turn.in_context ? "context" : "messages", turn.message_index, field, what);
    error_.field = std::move(field);
    return false;
  }

  bool body(std::size_t i) {
    const Turn& turn = at(i);
    const Message& message = *turn.message;
    switch (turn.role) {
      case Role::kSystem:
        return content(turn) && tools_and_format(turn);
      case Role::kUser:
        out_.fixed(marker::kUser);
        return blocks(turn);
      case Role::kDeveloper:
        if (message.content.text.empty() && message.content.parts.empty()) {
          return refuse(turn, RenderProblem::kDeveloperWithoutContent, "content",
                        "a developer message needs a content");
        }
        out_.fixed(marker::kUser);
        return content(turn) && tools_and_format(turn);
      case Role::kLatestReminder:
        out_.fixed(marker::kLatestReminder);
        return content(turn);
      case Role::kAssistant:
        return assistant(i);
      case Role::kUnknown:
        break;
    }
    return refuse(
        turn, RenderProblem::kUnknownRole, "role",
        fmt::format("'{}' is no role; use system, user, assistant, tool, developer or latest_reminder", message.role));
  }

  bool content(const Turn& turn) {
    out_.caller(turn.message->content.text);
    for (const ContentPart& part : turn.message->content.parts) {
      if (part.type != "text") return refuse_part(turn, part);
      out_.caller(part.text);
    }
    return true;
  }

  bool refuse_part(const Turn& turn, const ContentPart& part) {
    return refuse(turn, RenderProblem::kInvalidContent, "content",
                  fmt::format("a part of type '{}' cannot be shown; only text parts can", part.type));
  }

  bool blocks(const Turn& turn) {
    std::string_view separator;
    for (const Block& block : turn.blocks) {
      out_.fixed(separator);
      separator = "\n\n";
      if (block.tool_result) {
        tool_result(*block.message);
      } else if (block.part == nullptr) {
        out_.caller(block.message->content.text);
      } else if (block.part->type == "text") {
        out_.caller(block.part->text);
      } else {
        return refuse_part(turn, *block.part);
      }
    }
    return true;
  }

  void tool_result(const Message& message) {
    out_.fixed(marker::kToolResult);
    out_.caller(message.content.text);
    std::string_view separator;
    for (const ContentPart& part : message.content.parts) {
      out_.fixed(separator);
      out_.caller(part.type == "text" ? part.text : fmt::format("[Unsupported {}]", part.type));
      separator = "\n\n";
    }
    out_.fixed(marker::kToolResultEnd);
  }

  bool tools_and_format(const Turn& turn) {
    const Message& message = *turn.message;
    if (!message.tools.empty()) {
      out_.fixed("\n\n");
      out_.fixed(kToolsHead);
      for (std::size_t tool = 0; tool < message.tools.size(); ++tool) {
        const JsonValue* function = message.tools[tool].find("function");
        if (function == nullptr) {
          return refuse(turn, RenderProblem::kInvalidTool, fmt::format("tools[{}]", tool),
                        "the tool has no 'function'");
        }
        if (tool > 0) out_.fixed("\n");
        out_.caller(to_json(*function));
      }
      out_.fixed(kToolsTail);
    }
    if (message.response_format) {
      out_.fixed("\n\n");
      out_.fixed(kResponseFormatHead);
      out_.caller(to_json(*message.response_format));
    }
    return true;
  }

  bool assistant(std::size_t i) {
    const Turn& turn = at(i);
    const Message& message = *turn.message;
    if (message.continue_reasoning) return continued_reasoning(i);
    const bool after_task = i > 0 && at(i - 1).task.has_value();
    const bool opened = i > 0 && !after_task && (at(i - 1).role == Role::kUser || at(i - 1).role == Role::kDeveloper);
    const bool thinks = thinking_ && !after_task && (!turns_.drop_thinking || after_last_user(i));
    AnswerRange answer{.message = turn.message_index, .has_reasoning = thinks && turn.keeps_reasoning};
    answer.bytes.begin = std::ssize(out_.prompt.text);
    if (thinks) {
      if (turn.keeps_reasoning) out_.caller(message.reasoning_content);
      out_.fixed(marker::kThinkEnd);
    }
    if (!content(turn) || !calls(turn)) return false;
    answer.bytes.end = std::ssize(out_.prompt.text);
    if (opened && !turn.in_context) out_.prompt.answers.push_back(answer);
    if (!message.wo_eos) out_.fixed(marker::kEos);
    return true;
  }

  bool continued_reasoning(std::size_t i) {
    const Turn& turn = at(i);
    const Message& message = *turn.message;
    const bool opened =
        thinking_ && i > 0 && (at(i - 1).role == Role::kUser || at(i - 1).role == Role::kDeveloper) && !at(i - 1).task;
    const bool alone = message.content.text.empty() && message.content.parts.empty() && message.tool_calls.empty();
    if (!opened || !alone || !is_last(i)) {
      return refuse(turn, RenderProblem::kInvalidContinuation, "continue_reasoning",
                    "only the reasoning of a last message that follows a user message can be continued, in thinking "
                    "mode and without content or calls");
    }
    AnswerRange answer{.message = turn.message_index, .has_reasoning = true};
    answer.bytes.begin = std::ssize(out_.prompt.text);
    out_.caller(message.reasoning_content);
    answer.bytes.end = std::ssize(out_.prompt.text);
    if (!turn.in_context) out_.prompt.answers.push_back(answer);
    out_.prompt.inside_reasoning = true;
    return true;
  }

  bool calls(const Turn& turn) {
    if (turn.message->tool_calls.empty()) return true;
    out_.fixed("\n\n<｜DSML｜tool_calls>\n");
    for (std::size_t call = 0; call < turn.message->tool_calls.size(); ++call) {
      if (call > 0) out_.fixed("\n");
      out_.fixed("<｜DSML｜invoke name=\"");
      out_.caller(turn.message->tool_calls[call].name);
      out_.fixed("\">\n");
      if (!arguments(turn, call)) return false;
      out_.fixed("\n</｜DSML｜invoke>");
    }
    out_.fixed("\n</｜DSML｜tool_calls>");
    return true;
  }

  bool arguments(const Turn& turn, std::size_t call_index) {
    const ToolCall& call = turn.message->tool_calls[call_index];
    if (call.arguments_value) {
      parameter("arguments", *call.arguments_value);
      return true;
    }
    const auto object = parse_json(call.arguments, {.non_finite = true});
    const std::string field = fmt::format("tool_calls[{}].function.arguments", call_index);
    if (!object) {
      if (object.error().code != ErrorCode::kCorrupt) {
        return refuse(turn, RenderProblem::kInvalidArguments, field, object.error().message);
      }
      parameter("arguments", JsonValue::of(call.arguments));
      return true;
    }
    if (!object->is(JsonKind::kObject)) {
      return refuse(turn, RenderProblem::kArgumentsNotAnObject, field, "the arguments must be a JSON object");
    }
    for (std::size_t i = 0; i < object->members.size(); ++i) {
      if (i > 0) out_.fixed("\n");
      parameter(object->members[i].key, object->members[i].value);
    }
    return true;
  }

  void parameter(std::string_view key, const JsonValue& value) {
    const bool is_text = value.is(JsonKind::kString);
    out_.fixed("<｜DSML｜parameter name=\"");
    out_.caller(key);
    out_.fixed(is_text ? "\" string=\"true\">" : "\" string=\"false\">");
    out_.caller(is_text ? value.text : to_json(value));
    out_.fixed("</｜DSML｜parameter>");
  }

  bool tail(std::size_t i) {
    const Turn& turn = at(i);
    if (!is_last(i) && at(i + 1).role != Role::kAssistant && at(i + 1).role != Role::kLatestReminder) return true;
    if (turn.task) {
      const auto* const task = std::ranges::find(kTasks, *turn.task, &decltype(kTasks)::value_type::first);
      if (task == kTasks.end()) {
        return refuse(
            turn, RenderProblem::kUnknownTask, "task",
            fmt::format("'{}' is no task; use action, query, authority, domain, title or read_url", *turn.task));
      }
      if (task->first == "action") {
        out_.fixed(marker::kAssistant);
        out_.fixed(thinking_ ? marker::kThink : marker::kThinkEnd);
      }
      out_.fixed(task->second);
      return true;
    }
    if (turn.role != Role::kUser && turn.role != Role::kDeveloper) return true;
    const bool opens = thinking_ && (!turns_.drop_thinking || static_cast<std::int64_t>(i) >= turns_.last_user);
    out_.fixed(marker::kAssistant);
    out_.fixed(opens ? marker::kThink : marker::kThinkEnd);
    out_.prompt.inside_reasoning = opens && is_last(i);
    return true;
  }

  const Conversation& turns_;
  bool thinking_;
  PromptWriter out_;
  RenderError error_;
};

tl::unexpected<RenderError> option_error(RenderProblem problem, std::string field, std::string sentence) {
  RenderError error;
  error.problem = problem;
  error.field = std::move(field);
  error.sentence = std::move(sentence);
  return tl::unexpected<RenderError>(std::move(error));
}

}  // namespace

tl::expected<RenderedPrompt, RenderError> render_chat(std::span<const Message> messages, const RenderOptions& options,
                                                      std::span<const Message> context) {
  const bool thinking = options.thinking_mode == "thinking";
  if (!thinking && options.thinking_mode != "chat") {
    return option_error(RenderProblem::kUnknownThinkingMode, "thinking_mode",
                        fmt::format("thinking_mode: '{}' is unknown; use chat or thinking", options.thinking_mode));
  }
  const auto effort = effort_text(options.revision, options.reasoning_effort);
  if (!effort) {
    return option_error(RenderProblem::kUnknownEffort, "reasoning_effort",
                        fmt::format("reasoning_effort: this checkpoint's encoding does not know '{}'; use {}",
                                    *options.reasoning_effort,
                                    options.revision == ChatRevision::k2604 ? "high or max" : "low, high or max"));
  }
  const Conversation conversation = build_conversation(messages, context, thinking, options.drop_thinking);
  Renderer renderer(conversation, thinking);
  if (options.add_bos && context.empty()) renderer.bos();
  if (!renderer.render(*effort)) return tl::unexpected<RenderError>(renderer.take_error());
  return renderer.take();
}

ChatRevision detect_chat_revision(const std::filesystem::path& checkpoint) {
  constexpr std::int64_t kLimit = std::int64_t{4} << 20;
  const auto code = read_file(checkpoint / "encoding" / "encoding_dsv4.py", kLimit);
  if (!code) {
    log::info("chat encoding 0731: {} has no readable encoding/encoding_dsv4.py", checkpoint.string());
    return ChatRevision::k0731;
  }
  const bool july = code->find("REASONING_EFFORT_PROMPTS") != std::string::npos;
  log::info("chat encoding {}: as the encoding code of {} says", july ? "0731" : "2604", checkpoint.string());
  return july ? ChatRevision::k0731 : ChatRevision::k2604;
}

}  // namespace hadal::text
