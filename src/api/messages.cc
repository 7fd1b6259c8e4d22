#include "api/messages.h"

#include <fmt/core.h>

#include <algorithm>

namespace hadal::api {
namespace {

using text::JsonKind;
using text::JsonValue;
using text::Message;

constexpr std::size_t kMostMessages = 100'000;

class MessageReader {
 public:
  MessageReader(Family family, bool continue_final, FirstError& error)
      : family_(family), continue_final_(continue_final), error_(error) {}

  void add(const JsonValue& value, const std::string& path, bool last) {
    if (!value.is(JsonKind::kObject)) {
      error_.note(Cause::kMalformed, path, "expected object");
      return;
    }
    Fields fields(value, path, error_);
    Message& message = out.list.emplace_back();
    message.role = role(fields);
    if (error_.any()) return;
    if (message.role != "tool") check_answered(path);
    if (message.role == "assistant") {
      read_assistant(fields, message, last);
    } else if (fields.flag("prefix").value_or(false)) {
      error_.note(Cause::kInvalidValue, fields.path("prefix"), "only a last message of the assistant can be a prefix");
    }
    const bool may_lack_content =
        message.role == "assistant" && (!message.tool_calls.empty() || has_reasoning_ || (last && out.continues));
    read_content(fields, may_lack_content, message);
    if (message.role == "tool") read_result(fields, message);
  }

  /// OpenAI's rule: every call has its result before the conversation goes on.
  void check_answered(const std::string& path) {
    if (family_ == Family::kOpenAi && !unanswered_.empty()) {
      std::string ids;
      for (const std::string& id : unanswered_) ids += (ids.empty() ? "" : ", ") + id;
      error_.note(Cause::kInvalidValue, path, fmt::format("these tool calls have no result before it: {}", ids));
    }
    unanswered_.clear();
  }

  ChatMessages out;

 private:
  std::string role(Fields& fields) {
    const auto role = fields.string("role");
    if (!role) {
      error_.note(Cause::kMalformed, fields.path("role"), "expected string");
      return {};
    }
    if (*role == "developer" && family_ == Family::kOpenAi) return "system";
    for (const std::string_view known : {"system", "user", "assistant", "tool", "latest_reminder"}) {
      if (*role == known) return *role;
    }
    error_.note(Cause::kInvalidValue, fields.path("role"),
                fmt::format("'{}' is no role; expected system, user, assistant or tool", excerpt(*role)));
    return {};
  }

  void read_content(Fields& fields, bool may_lack, Message& message) {
    const JsonValue* content = fields.get("content");
    const std::string path = fields.path("content");
    if (content == nullptr) {
      if (!may_lack) error_.note(Cause::kMalformed, path, "expected string or array");
      return;
    }
    if (content->is(JsonKind::kString)) {
      message.content.text = content->text;
      return;
    }
    if (!content->is(JsonKind::kArray)) {
      error_.note(Cause::kMalformed, path, "expected string or array");
      return;
    }
    for (std::size_t i = 0; i < content->items.size(); ++i) {
      add_part(content->items[i], fmt::format("{}[{}]", path, i), message.content.text);
    }
  }

  void add_part(const JsonValue& part, const std::string& path, std::string& text) {
    if (!part.is(JsonKind::kObject)) {
      error_.note(Cause::kMalformed, path, "expected object");
      return;
    }
    Fields fields(part, path, error_);
    const auto type = fields.string("type");
    for (const std::string_view other : {"image_url", "input_image", "image", "file", "input_audio", "video_url"}) {
      if (type == other) error_.note(Cause::kInvalidValue, fields.path("type"), "this model reads text only");
    }
    if (type != "text" && type != "input_text" && type != "output_text" && type != "refusal") {
      error_.note(Cause::kInvalidValue, fields.path("type"), "expected text");
      return;
    }
    const std::string_view key = type == "refusal" && !fields.has("text") ? "refusal" : "text";
    const auto piece = fields.string(key);
    if (piece) {
      text += *piece;
    } else {
      error_.note(Cause::kMalformed, fields.path(key), "expected string");
    }
  }

  void read_assistant(Fields& fields, Message& message, bool last) {
    auto reasoning = fields.string("reasoning_content");
    if (!reasoning) reasoning = fields.string("reasoning");
    has_reasoning_ = reasoning.has_value();
    message.reasoning_content = reasoning.value_or("");
    read_calls(fields, message);
    if (!message.tool_calls.empty() && !has_reasoning_) ++out.reasoning_missing;
    const bool marked = fields.flag("prefix").value_or(false);
    if (!marked && !(last && continue_final_)) return;
    if (!last) {
      error_.note(Cause::kInvalidValue, fields.path("prefix"), "only the last message can be a prefix");
    } else if (!message.tool_calls.empty()) {
      error_.note(Cause::kInvalidValue, fields.path("prefix"), "a message with tool_calls cannot be a prefix");
    } else {
      out.continues = true;
    }
  }

  void read_calls(Fields& fields, Message& message) {
    const JsonValue* calls = fields.array("tool_calls");
    if (calls == nullptr || calls->items.empty()) return;
    for (std::size_t i = 0; i < calls->items.size(); ++i) {
      add_call(calls->items[i], fmt::format("{}[{}]", fields.path("tool_calls"), i), message);
    }
    call_ids_.clear();
    for (const text::ToolCall& call : message.tool_calls) call_ids_.push_back(call.id);
    unanswered_ = call_ids_;
  }

  void add_call(const JsonValue& value, const std::string& path, Message& message) {
    if (!value.is(JsonKind::kObject)) {
      error_.note(Cause::kMalformed, path, "expected object");
      return;
    }
    Fields fields(value, path, error_);
    text::ToolCall& call = message.tool_calls.emplace_back();
    const auto id = fields.string("id");
    if (!id || id->empty()) error_.note(Cause::kMalformed, fields.path("id"), "expected string");
    call.id = id.value_or("");
    if (const auto type = fields.string("type"); type && *type != "function") {
      error_.note(Cause::kInvalidValue, fields.path("type"), "expected function");
    }
    const JsonValue* function = fields.object("function");
    if (function == nullptr) {
      error_.note(Cause::kMalformed, fields.path("function"), "expected object");
      return;
    }
    Fields inner(*function, fields.path("function"), error_);
    const auto name = inner.string("name");
    if (!name) error_.note(Cause::kMalformed, inner.path("name"), "expected string");
    call.name = name.value_or("");
    read_arguments(inner, call);
  }

  void read_arguments(Fields& function, text::ToolCall& call) {
    const JsonValue* arguments = function.get("arguments");
    if (arguments == nullptr) {
      error_.note(Cause::kMalformed, function.path("arguments"), "expected string");
    } else if (arguments->is(JsonKind::kObject)) {
      call.arguments = text::to_json(*arguments);
    } else if (!arguments->is(JsonKind::kString)) {
      error_.note(Cause::kMalformed, function.path("arguments"), "expected string");
    } else if (const auto parsed = text::parse_json(arguments->text); parsed && parsed->is(JsonKind::kObject)) {
      call.arguments = arguments->text;
    } else {
      call.arguments_value = *arguments;  // shown as one parameter
    }
  }

  void read_result(Fields& fields, Message& message) {
    const auto id = fields.string("tool_call_id");
    if (!id) {
      error_.note(Cause::kMalformed, fields.path("tool_call_id"), "expected string");
      return;
    }
    message.tool_call_id = *id;
    if (std::ranges::find(call_ids_, *id) == call_ids_.end()) {
      error_.note(Cause::kInvalidValue, fields.path("tool_call_id"),
                  "no call of the nearest earlier message with tool_calls has this id");
    }
    std::erase(unanswered_, *id);
  }

  Family family_;
  bool continue_final_;
  FirstError& error_;
  bool has_reasoning_ = false;             // of the message in work
  std::vector<std::string> call_ids_{};    // of the nearest assistant turn with calls
  std::vector<std::string> unanswered_{};  // of them
};

}  // namespace

ChatMessages read_messages(Family family, Fields& fields) {
  const JsonValue* list = fields.array("messages");
  if (list == nullptr || list->items.empty() || list->items.size() > kMostMessages) {
    fields.error().note(list == nullptr ? Cause::kMalformed : Cause::kInvalidValue, "messages",
                        fmt::format("expected array of 1 to {} messages", kMostMessages));
    return {};
  }
  const bool continue_final = fields.flag("continue_final_message").value_or(false);
  MessageReader reader(family, continue_final, fields.error());
  for (std::size_t i = 0; i < list->items.size() && !fields.error().any(); ++i) {
    reader.add(list->items[i], fmt::format("messages[{}]", i), i + 1 == list->items.size());
  }
  reader.check_answered("messages");
  if (continue_final && !reader.out.continues) {
    fields.error().note(Cause::kInvalidValue, "continue_final_message", "the last message is not the assistant's");
  }
  return std::move(reader.out);
}

}  // namespace hadal::api
