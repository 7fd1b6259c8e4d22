#include <fmt/core.h>

#include <algorithm>

#include "api/base_fields.h"
#include "api/messages.h"
#include "api/tools.h"

namespace hadal::api {
namespace {

using text::JsonKind;
using text::JsonValue;

constexpr std::int64_t kDefaultPlain = 8'192;
constexpr std::int64_t kDefaultThinking = 65'536;
constexpr std::int64_t kDefaultMost = 131'072;

/// What one field says: nothing when it is absent.
std::optional<bool> thinking_type(Fields& fields, Thinking& thinking) {
  const JsonValue* value = fields.object("thinking");
  if (value == nullptr) return std::nullopt;
  Fields inner(*value, "thinking", fields.error());
  if (const auto budget = inner.integer("budget_tokens", 1, std::int64_t{1} << 31)) thinking.budget = budget;
  const auto type = inner.string("type");
  if (type == "disabled") return false;
  if (type == "enabled" || type == "adaptive" || type == "between_tools") return true;
  fields.error().note(Cause::kInvalidValue, "thinking.type", "expected enabled, disabled or adaptive");
  return std::nullopt;
}

std::optional<bool> effort_level(Fields& fields, const std::optional<std::string>& level, std::string_view path,
                                 Thinking& thinking) {
  if (!level) return std::nullopt;
  if (*level == "none") return false;
  if (*level == "minimal" || *level == "low") {
    thinking.effort = Effort::kLow;
  } else if (*level == "medium" || *level == "high" || *level == "xhigh") {
    thinking.effort = Effort::kHigh;
  } else if (*level == "max" || *level == "ultra") {
    thinking.effort = Effort::kMax;
  } else {
    fields.error().note(Cause::kInvalidValue, path, "expected none, minimal, low, medium, high, xhigh, max or ultra");
  }
  return true;
}

/// reasoning_effort, else reasoning.effort, else output_config.effort.
std::optional<bool> read_effort(Fields& fields, Thinking& thinking) {
  std::optional<bool> on = effort_level(fields, fields.string("reasoning_effort"), "reasoning_effort", thinking);
  for (const std::string_view key : {"reasoning", "output_config"}) {
    const JsonValue* value = fields.object(key);
    if (value == nullptr) continue;
    Fields inner(*value, std::string(key), fields.error());
    if (key == "reasoning") {
      if (const auto budget = inner.integer("max_tokens", 1, std::int64_t{1} << 31)) thinking.budget = budget;
    }
    const auto level = inner.string("effort");
    if (!on) on = effort_level(fields, level, inner.path("effort"), thinking);
  }
  return on;
}

std::optional<bool> template_flag(Fields& fields) {
  const JsonValue* value = fields.object("chat_template_kwargs");
  if (value == nullptr) return std::nullopt;
  Fields inner(*value, "chat_template_kwargs", fields.error());
  const auto thinking = inner.flag("thinking");
  const auto enable = inner.flag("enable_thinking");
  return thinking ? thinking : enable;
}

/// The first that is present wins: thinking, an effort, the template's flags, think, the model's name.
Thinking read_thinking(Fields& fields, bool by_default) {
  Thinking thinking;
  const std::optional<bool> said[] = {thinking_type(fields, thinking), read_effort(fields, thinking),
                                      template_flag(fields), fields.flag("think")};
  const auto* const first = std::ranges::find_if(said, [](const auto& value) { return value.has_value(); });
  thinking.on = first == std::end(said) ? by_default : **first;
  if (const auto budget = fields.integer("thinking_token_budget", 1, std::int64_t{1} << 31)) thinking.budget = budget;
  if (!thinking.on) thinking = {.on = false};
  return thinking;
}

bool names_json(const std::vector<text::Message>& messages) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; };
  constexpr std::string_view kWord = "json";
  return std::ranges::any_of(messages, [&](const text::Message& message) {
    if (message.role != "system" && message.role != "user") return false;
    return !std::ranges::search(message.content.text, kWord, {}, lower).empty();
  });
}

Constraint read_response_format(Fields& fields, const RequestSettings& settings,
                                const std::vector<text::Message>& messages) {
  const JsonValue* value = fields.object("response_format");
  if (value == nullptr) return Constraint::kNone;
  Fields inner(*value, "response_format", fields.error());
  const auto type = inner.string("type");
  if (type == "text") return Constraint::kNone;
  if (type == "json_schema" || (type == "json_object" && inner.has("schema"))) {
    fields.error().note(Cause::kInvalidValue, "response_format.type",
                        "this server cannot constrain answers to a schema; use json_object or text");
  } else if (type != "json_object") {
    fields.error().note(Cause::kInvalidValue, "response_format.type", "expected text or json_object");
  } else if (settings.json_word_check && !names_json(messages)) {
    fields.error().note_whole(Cause::kInvalidValue, "messages",
                              "Prompt must contain the word 'json' in some form to use 'response_format' of type "
                              "'json_object'.");
  }
  return Constraint::kJsonObject;
}

void read_logprobs(Fields& fields, Logprobs& logprobs) {
  logprobs.on = fields.flag("logprobs").value_or(false);
  const auto top = fields.integer("top_logprobs", 0, 20);
  if (top && !logprobs.on) {
    fields.error().note(Cause::kInvalidValue, "top_logprobs", "only allowed when logprobs is true");
  }
  logprobs.top = top.value_or(0);
}

ReasoningPlace read_reasoning_place(Fields& fields) {
  ReasoningPlace place = ReasoningPlace::kField;
  const auto format = fields.string("reasoning_format");
  if (format == "none") {
    place = ReasoningPlace::kContent;
  } else if (format && *format != "deepseek" && *format != "auto") {
    fields.error().note(Cause::kInvalidValue, "reasoning_format", "expected none, deepseek or auto");
  }
  if (!fields.flag("separate_reasoning").value_or(true)) place = ReasoningPlace::kContent;
  if (!fields.flag("include_reasoning").value_or(true)) place = ReasoningPlace::kNowhere;
  return place;
}

void read_refused(Fields& fields) {
  for (const std::string_view key : {"functions", "function_call"}) {
    fields.forbid(key, "no longer supported; use tools and tool_choice");
  }
  for (const std::string_view key : {"chat_template", "documents"}) fields.forbid(key, "not supported; leave it out");
  if (const JsonValue* modalities = fields.array("modalities")) {
    const bool text_only = modalities->items.size() == 1 && modalities->items[0].is(JsonKind::kString) &&
                           modalities->items[0].text == "text";
    if (!text_only) fields.error().note(Cause::kInvalidValue, "modalities", "expected [\"text\"]");
  }
}

void read_limits(Fields& fields, ChatRequest& request) {
  request.max_tokens = !request.thinking.on                      ? kDefaultPlain
                       : request.thinking.effort == Effort::kMax ? kDefaultMost
                                                                 : kDefaultThinking;
  request.max_tokens = std::min(request.max_tokens, request.model->max_output);
  for (const std::string_view key : {"max_tokens", "max_completion_tokens"}) {
    read_max_tokens(fields, key, 1, request.model->max_output, request);
  }
}

void read_conversation(Fields& fields, const RequestSettings& settings, ChatRequest& request) {
  ChatMessages messages = read_messages(request.family, fields);
  request.messages = std::move(messages.list);
  request.continues = messages.continues;
  if (!request.thinking.on || request.tools.list.empty()) return;
  request.reasoning_missing = messages.reasoning_missing;
  if (settings.strict_reasoning && request.reasoning_missing > 0) {
    fields.error().note_whole(Cause::kInvalidValue, "messages",
                              "The reasoning_content in the thinking mode must be passed back to the API.");
  }
}

}  // namespace

ApiResult<ChatRequest> read_chat(Family family, const JsonValue& body, const RequestSettings& settings) {
  FirstError error;
  Fields fields(body, "", error);
  const ModelChoice choice = read_model(family, fields, settings);
  if (error.any()) return error.take();
  ChatRequest request;
  request.family = family;
  request.model = choice.model;
  request.thinking = read_thinking(fields, choice.thinking);
  request.tools = read_tools(family, fields);
  read_conversation(fields, settings, request);
  read_base(fields, settings, request);
  read_limits(fields, request);
  read_logprobs(fields, request.logprobs);
  request.constraint = read_response_format(fields, settings, request.messages);
  request.reasoning = read_reasoning_place(fields);
  read_refused(fields);
  if (!fields.flag("add_generation_prompt").value_or(true) && !request.continues) {
    error.note(Cause::kInvalidValue, "add_generation_prompt", "false needs a last message that is continued");
  }
  apply_policy(fields, settings, request.thinking.on, request);
  finish_fields(fields, settings, request);
  if (error.any()) return error.take();
  return request;
}

}  // namespace hadal::api
