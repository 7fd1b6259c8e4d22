#include "text/chat_json.h"

#include <fmt/core.h>

#include <cstdint>
#include <optional>
#include <utility>

namespace hadal::text {
namespace {

std::string_view kind_name(JsonKind kind) {
  switch (kind) {
    case JsonKind::kNull:
      return "null";
    case JsonKind::kBool:
      return "a boolean";
    case JsonKind::kNumber:
      return "a number";
    case JsonKind::kString:
      return "a string";
    case JsonKind::kArray:
      return "a list";
    case JsonKind::kObject:
      return "an object";
  }
  return "unknown";
}

/// Typed access to the members of one object; `where` names it in errors.
class Fields {
 public:
  Fields(const JsonValue& object, std::string where) : object_(object), where_(std::move(where)) {}

  Status check() const {
    if (object_.is(JsonKind::kObject)) return {};
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: expected an object, got {}", where_, kind_name(object_.kind)));
  }

  /// The member, or null when it is absent or null.
  const JsonValue* get(std::string_view key) const {
    const JsonValue* value = object_.find(key);
    return value == nullptr || value->is(JsonKind::kNull) ? nullptr : value;
  }

  Result<const JsonValue*> get(std::string_view key, JsonKind kind) const {
    const JsonValue* value = get(key);
    if (value != nullptr && !value->is(kind)) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("{}.{}: expected {}, got {}", where_, key, kind_name(kind), kind_name(value->kind)));
    }
    return value;
  }

  Status text(std::string_view key, std::string& target) const {
    HADAL_ASSIGN(const JsonValue* value, get(key, JsonKind::kString));
    if (value != nullptr) target = value->text;
    return {};
  }

  Status text(std::string_view key, std::optional<std::string>& target) const {
    HADAL_ASSIGN(const JsonValue* value, get(key, JsonKind::kString));
    if (value != nullptr) target = value->text;
    return {};
  }

  Status flag(std::string_view key, bool& target) const {
    HADAL_ASSIGN(const JsonValue* value, get(key, JsonKind::kBool));
    if (value != nullptr) target = value->boolean;
    return {};
  }

  std::string path(std::string_view key) const { return fmt::format("{}.{}", where_, key); }

 private:
  const JsonValue& object_;
  std::string where_;
};

Status read_content(const Fields& fields, Content& content) {
  const JsonValue* value = fields.get("content");
  if (value == nullptr) return {};
  if (value->is(JsonKind::kString)) {
    content.text = value->text;
    return {};
  }
  if (!value->is(JsonKind::kArray)) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("{}: expected a string or a list of parts, got {}",
                                                         fields.path("content"), kind_name(value->kind)));
  }
  content.is_list = true;
  for (std::size_t i = 0; i < value->items.size(); ++i) {
    const Fields part(value->items[i], fmt::format("{}[{}]", fields.path("content"), i));
    HADAL_TRY(part.check());
    ContentPart& target = content.parts.emplace_back();
    HADAL_TRY(part.text("type", target.type));
    HADAL_TRY(part.text("text", target.text));
  }
  return {};
}

Status read_call(const JsonValue& value, const std::string& where, ToolCall& call) {
  const Fields fields(value, where);
  HADAL_TRY(fields.check());
  HADAL_TRY(fields.text("id", call.id));
  const JsonValue* inner = fields.get("function");
  if (inner == nullptr) return fail(ErrorCode::kInvalidArgument, fmt::format("{}: 'function' is missing", where));
  const Fields function(*inner, fields.path("function"));
  HADAL_TRY(function.check());
  HADAL_TRY(function.text("id", call.function_id));
  if (function.get("name") == nullptr) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("{}: 'name' is missing", fields.path("function")));
  }
  HADAL_TRY(function.text("name", call.name));
  const JsonValue* arguments = inner->find("arguments");
  if (arguments == nullptr) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("{}: 'arguments' is missing", fields.path("function")));
  }
  if (arguments->is(JsonKind::kString)) {
    call.arguments = arguments->text;
  } else {
    call.arguments_value = *arguments;
  }
  return {};
}

Status read_message(const JsonValue& value, const std::string& where, Message& message) {
  const Fields fields(value, where);
  HADAL_TRY(fields.check());
  HADAL_TRY(fields.text("role", message.role));
  HADAL_TRY(read_content(fields, message.content));
  HADAL_TRY(fields.text("reasoning_content", message.reasoning_content));
  HADAL_TRY(fields.text("tool_call_id", message.tool_call_id));
  HADAL_TRY(fields.text("task", message.task));
  HADAL_TRY(fields.flag("wo_eos", message.wo_eos));
  HADAL_TRY(fields.flag("continue_reasoning", message.continue_reasoning));
  HADAL_ASSIGN(const JsonValue* tools, fields.get("tools", JsonKind::kArray));
  if (tools != nullptr) message.tools = tools->items;
  if (const JsonValue* format = fields.get("response_format")) message.response_format = *format;
  HADAL_ASSIGN(const JsonValue* calls, fields.get("tool_calls", JsonKind::kArray));
  if (calls == nullptr) return {};
  for (std::size_t i = 0; i < calls->items.size(); ++i) {
    HADAL_TRY(read_call(calls->items[i], fmt::format("{}[{}]", fields.path("tool_calls"), i),
                        message.tool_calls.emplace_back()));
  }
  return {};
}

JsonValue content_to_json(const Content& content) {
  if (!content.is_list) return JsonValue::of(content.text);
  JsonValue list = JsonValue::array();
  for (const ContentPart& part : content.parts) {
    JsonValue item = JsonValue::object();
    item.add("type", JsonValue::of(part.type)).add("text", JsonValue::of(part.text));
    list.items.push_back(std::move(item));
  }
  return list;
}

JsonValue call_to_json(const ToolCall& call) {
  JsonValue function = JsonValue::object();
  function.add("name", JsonValue::of(call.name));
  function.add("arguments", call.arguments_value ? *call.arguments_value : JsonValue::of(call.arguments));
  if (!call.function_id.empty()) function.add("id", JsonValue::of(call.function_id));
  JsonValue result = JsonValue::object();
  if (!call.id.empty()) result.add("id", JsonValue::of(call.id));
  result.add("type", JsonValue::of(std::string("function"))).add("function", std::move(function));
  return result;
}

}  // namespace

Result<std::vector<Message>> messages_from_json(const JsonValue& list, std::string_view where) {
  if (!list.is(JsonKind::kArray)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: expected a list of messages, got {}", where, kind_name(list.kind)));
  }
  std::vector<Message> messages(list.items.size());
  for (std::size_t i = 0; i < messages.size(); ++i) {
    HADAL_TRY(read_message(list.items[i], fmt::format("{}[{}]", where, i), messages[i]));
  }
  return messages;
}

JsonValue messages_to_json(std::span<const Message> messages) {
  JsonValue list = JsonValue::array();
  for (const Message& message : messages) {
    JsonValue item = JsonValue::object();
    item.add("role", JsonValue::of(message.role)).add("content", content_to_json(message.content));
    const auto add_text = [&item](std::string_view key, const std::string& text) {
      if (!text.empty()) item.add(std::string(key), JsonValue::of(text));
    };
    add_text("reasoning_content", message.reasoning_content);
    if (!message.tool_calls.empty()) {
      JsonValue calls = JsonValue::array();
      for (const ToolCall& call : message.tool_calls) calls.items.push_back(call_to_json(call));
      item.add("tool_calls", std::move(calls));
    }
    add_text("tool_call_id", message.tool_call_id);
    if (!message.tools.empty()) {
      JsonValue tools = JsonValue::array();
      tools.items = message.tools;
      item.add("tools", std::move(tools));
    }
    if (message.response_format) item.add("response_format", *message.response_format);
    if (message.task) item.add("task", JsonValue::of(*message.task));
    if (message.wo_eos) item.add("wo_eos", JsonValue::of(true));
    if (message.continue_reasoning) item.add("continue_reasoning", JsonValue::of(true));
    list.items.push_back(std::move(item));
  }
  return list;
}

Result<RenderOptions> render_options_from_json(const JsonValue& object, const RenderOptions& defaults) {
  RenderOptions options = defaults;
  const Fields fields(object, "options");
  HADAL_TRY(fields.check());
  HADAL_TRY(fields.text("thinking_mode", options.thinking_mode));
  HADAL_TRY(fields.text("reasoning_effort", options.reasoning_effort));
  HADAL_TRY(fields.flag("drop_thinking", options.drop_thinking));
  HADAL_TRY(fields.flag("add_bos", options.add_bos));
  return options;
}

Result<ParserOptions> parser_options_from_json(const JsonValue& object, const ParserOptions& defaults) {
  ParserOptions options = defaults;
  const Fields fields(object, "options");
  HADAL_TRY(fields.check());
  HADAL_TRY(fields.flag("thinking", options.thinking));
  HADAL_TRY(fields.flag("tools", options.tools));
  HADAL_TRY(fields.flag("trim_newlines", options.trim_newlines));
  HADAL_TRY(fields.flag("lenient_dsml", options.lenient_dsml));
  return options;
}

JsonValue parsed_to_json(const ParsedMessage& message) {
  JsonValue calls = JsonValue::array();
  for (const ParsedCall& call : message.tool_calls) {
    JsonValue item = JsonValue::object();
    item.add("name", JsonValue::of(call.name));
    item.add("arguments", JsonValue::of(call.arguments));
    item.add("complete", JsonValue::of(call.complete));
    calls.items.push_back(std::move(item));
  }
  JsonValue warnings = JsonValue::array();
  for (const ChatWarning warning : message.warnings) {
    warnings.items.push_back(JsonValue::of(std::string(name(warning))));
  }
  JsonValue result = JsonValue::object();
  result.add("reasoning_content", JsonValue::of(message.reasoning_content));
  result.add("content", JsonValue::of(message.content));
  result.add("tool_calls", std::move(calls)).add("warnings", std::move(warnings));
  return result;
}

JsonValue events_to_json(std::span<const ChatEvent> events) {
  std::string reasoning;
  std::string content;
  std::string arguments;
  JsonValue calls = JsonValue::array();
  std::int64_t ends = 0;
  for (const ChatEvent& event : events) {
    switch (event.kind) {
      case ChatEventKind::kReasoning:
        reasoning += event.text;
        break;
      case ChatEventKind::kContent:
        content += event.text;
        break;
      case ChatEventKind::kArguments:
        arguments += event.text;
        break;
      case ChatEventKind::kCallBegin:
        calls.items.push_back(JsonValue::of(std::string(event.text)));
        break;
      case ChatEventKind::kCallEnd:
        ++ends;
        break;
    }
  }
  JsonValue result = JsonValue::object();
  if (!reasoning.empty()) result.add("reasoning", JsonValue::of(std::move(reasoning)));
  if (!content.empty()) result.add("content", JsonValue::of(std::move(content)));
  if (!arguments.empty()) result.add("arguments", JsonValue::of(std::move(arguments)));
  if (!calls.items.empty()) result.add("calls", std::move(calls));
  if (ends > 0) result.add("ends", JsonValue::of(ends));
  return result;
}

Message to_message(const ParsedMessage& parsed) {
  Message message;
  message.role = "assistant";
  message.content.text = parsed.content;
  message.reasoning_content = parsed.reasoning_content;
  for (const ParsedCall& call : parsed.tool_calls) {
    message.tool_calls.push_back({.name = call.name, .arguments = call.arguments});
  }
  return message;
}

}  // namespace hadal::text
