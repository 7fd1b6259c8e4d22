#include "api/tools.h"

#include <fmt/core.h>

#include <algorithm>
#include <set>

namespace hadal::api {
namespace {

using text::JsonKind;
using text::JsonValue;

constexpr std::size_t kMostTools = 128;
constexpr std::size_t kLongestName = 128;

bool is_name(std::string_view name) {
  constexpr std::string_view kAllowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
  return !name.empty() && name.size() <= kLongestName && name.find_first_not_of(kAllowed) == std::string_view::npos;
}

/// One object of `items`, noting when it is none.
bool check_object(const JsonValue& value, const std::string& path, FirstError& error) {
  if (value.is(JsonKind::kObject)) return true;
  error.note(Cause::kMalformed, path, "expected object");
  return false;
}

/// What the prompt shows of a function, keys in the order of the request.
JsonValue shown_function(const JsonValue& function) {
  JsonValue shown = JsonValue::object();
  bool has_parameters = false;
  for (const text::JsonMember& member : function.members) {
    if (member.value.is(JsonKind::kNull)) continue;
    if (member.key != "name" && member.key != "description" && member.key != "parameters" && member.key != "strict") {
      continue;
    }
    has_parameters = has_parameters || member.key == "parameters";
    shown.add(member.key, member.value);
  }
  if (has_parameters) return shown;
  JsonValue parameters = JsonValue::object();
  parameters.add("type", JsonValue::of(std::string("object"))).add("properties", JsonValue::object());
  shown.add("parameters", std::move(parameters));
  return shown;
}

class ToolReader {
 public:
  ToolReader(Family family, Fields& fields) : family_(family), fields_(fields), error_(fields.error()) {}

  Tools read() {
    const JsonValue* list = fields_.array("tools");
    if (list != nullptr && list->items.size() > kMostTools) {
      error_.note(Cause::kInvalidValue, "tools", fmt::format("expected at most {} tools", kMostTools));
    } else if (list != nullptr) {
      for (std::size_t i = 0; i < list->items.size(); ++i) add_tool(list->items[i], fmt::format("tools[{}]", i));
    }
    if (!tools_.list.empty()) tools_.mode = ToolMode::kAuto;
    const auto strict = std::ranges::count(tools_.strict, true);
    if (family_ == Family::kDeepSeek && strict > 0 && strict < std::ssize(tools_.strict)) {
      error_.note(Cause::kInvalidValue, "tools", "strict must be true for every function or for none");
    }
    read_choice();
    tools_.parallel = fields_.flag("parallel_tool_calls").value_or(true);
    return std::move(tools_);
  }

 private:
  void add_tool(const JsonValue& tool, const std::string& path) {
    if (!check_object(tool, path, error_)) return;
    Fields outer(tool, path, error_);
    if (const auto type = outer.string("type"); type && *type != "function") {
      error_.note(Cause::kInvalidValue, path + ".type", "expected function");
    }
    const JsonValue* function = outer.object("function");
    if (function == nullptr) {
      error_.note(Cause::kMalformed, path + ".function", "expected object");
      return;
    }
    Fields inner(*function, path + ".function", error_);
    const auto name = inner.string("name");
    if (!name || !is_name(*name)) {
      error_.note(Cause::kInvalidValue, inner.path("name"),
                  fmt::format("expected 1 to {} of the characters A-Z a-z 0-9 _ -", kLongestName));
      return;
    }
    if (!names_.insert(*name).second) {
      error_.note(Cause::kInvalidValue, inner.path("name"), "another tool has this name");
    }
    (void)inner.string("description");
    (void)inner.object("parameters");
    const bool inside = inner.flag("strict").value_or(false);
    tools_.strict.push_back(outer.flag("strict").value_or(inside));
    JsonValue entry = JsonValue::object();
    entry.add("type", JsonValue::of(std::string("function"))).add("function", shown_function(*function));
    tools_.list.push_back(std::move(entry));
  }

  void read_choice() {
    const JsonValue* choice = fields_.get("tool_choice");
    if (choice == nullptr) return;
    if (choice->is(JsonKind::kString)) {
      read_mode(choice->text, "tool_choice");
    } else if (choice->is(JsonKind::kObject)) {
      read_choice_object(*choice);
    } else {
      error_.note(Cause::kMalformed, "tool_choice", "expected string or object");
    }
    if (tools_.mode == ToolMode::kNone) tools_.list.clear();
  }

  void read_mode(std::string_view mode, std::string_view path) {
    if (mode == "none" && path == "tool_choice") {
      tools_.mode = ToolMode::kNone;
    } else if (mode == "required") {
      if (tools_.list.empty()) error_.note(Cause::kInvalidValue, path, "required, but the request has no tools");
      tools_.mode = ToolMode::kRequired;
    } else if (mode != "auto") {
      error_.note(Cause::kInvalidValue, path, "expected none, auto, required or an object");
    }
  }

  void read_choice_object(const JsonValue& choice) {
    Fields outer(choice, "tool_choice", error_);
    const auto type = outer.string("type");
    if (type == "function") {
      tools_.mode = ToolMode::kRequired;
      allow(choice, "tool_choice");
      return;
    }
    if (type != "allowed_tools" || family_ != Family::kOpenAi) {
      error_.note(Cause::kInvalidValue, "tool_choice.type", "expected function");
      return;
    }
    // Newer clients put mode and tools one level deeper.
    const JsonValue* nested = outer.object("allowed_tools");
    const std::string path = nested == nullptr ? "tool_choice" : "tool_choice.allowed_tools";
    Fields inner(nested == nullptr ? choice : *nested, path, error_);
    read_mode(inner.string("mode").value_or("auto"), inner.path("mode"));
    const JsonValue* list = inner.array("tools");
    if (list == nullptr || list->items.empty()) {
      error_.note(Cause::kMalformed, inner.path("tools"), "expected array of tools");
      return;
    }
    for (std::size_t i = 0; i < list->items.size(); ++i) {
      const std::string item = fmt::format("{}[{}]", inner.path("tools"), i);
      if (check_object(list->items[i], item, error_)) allow(list->items[i], item);
    }
  }

  /// The name in {"name"} or {"function": {"name"}}.
  void allow(const JsonValue& value, const std::string& path) {
    Fields outer(value, path, error_);
    auto name = outer.string("name");
    if (const JsonValue* function = outer.object("function")) {
      name = Fields(*function, path + ".function", error_).string("name");
    }
    if (!name) {
      error_.note(Cause::kMalformed, path + ".function.name", "expected string");
    } else if (!names_.contains(*name)) {
      error_.note(Cause::kInvalidValue, path + ".function.name", "no tool of the request has this name");
    } else {
      tools_.allowed.push_back(*name);
    }
  }

  Family family_;
  Fields& fields_;
  FirstError& error_;
  std::set<std::string> names_;
  Tools tools_;
};

}  // namespace

Tools read_tools(Family family, Fields& fields) { return ToolReader(family, fields).read(); }

}  // namespace hadal::api
