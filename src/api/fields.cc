#include "api/fields.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace hadal::api {
namespace {

std::string_view kind_name(text::JsonKind kind) {
  switch (kind) {
    case text::JsonKind::kNull:
      return "null";
    case text::JsonKind::kBool:
      return "boolean";
    case text::JsonKind::kNumber:
      return "number";
    case text::JsonKind::kString:
      return "string";
    case text::JsonKind::kArray:
      return "array";
    case text::JsonKind::kObject:
      return "object";
  }
  return "value";
}

template <class Number>
std::optional<Number> convert(std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

}  // namespace

void FirstError::note(Cause cause, std::string_view path, std::string_view sentence) {
  note_whole(cause, path, fmt::format("{}: {}", path, sentence));
}

void FirstError::note_whole(Cause cause, std::string_view path, std::string message) {
  if (!error_) error_ = ApiError{cause, std::move(message), std::string(path)};
}

const text::JsonValue* Fields::get(std::string_view key) {
  known_.push_back(key);
  const text::JsonValue* value = object_.find(key);
  return value == nullptr || value->is(text::JsonKind::kNull) ? nullptr : value;
}

const text::JsonValue* Fields::get(std::string_view key, text::JsonKind kind) {
  const text::JsonValue* value = get(key);
  if (value == nullptr || value->is(kind)) return value;
  error_.note(Cause::kMalformed, path(key),
              fmt::format("expected {}, got {}", kind_name(kind), kind_name(value->kind)));
  return nullptr;
}

std::optional<std::string> Fields::string(std::string_view key) {
  const text::JsonValue* value = get(key, text::JsonKind::kString);
  if (value == nullptr) return std::nullopt;
  return value->text;
}

std::optional<bool> Fields::flag(std::string_view key) {
  const text::JsonValue* value = get(key, text::JsonKind::kBool);
  if (value == nullptr) return std::nullopt;
  return value->boolean;
}

std::optional<std::int64_t> Fields::integer(std::string_view key, std::int64_t least, std::int64_t most) {
  const text::JsonValue* value = get(key, text::JsonKind::kNumber);
  if (value == nullptr) return std::nullopt;
  const std::optional<std::int64_t> number = to_integer(*value);
  if (!number && value->text.find_first_of(".eE") != std::string::npos) {
    error_.note(Cause::kMalformed, path(key), "expected integer");
    return std::nullopt;
  }
  if (!number || *number < least || *number > most) {
    error_.note(Cause::kInvalidValue, path(key), fmt::format("expected integer from {} to {}", least, most));
    return std::nullopt;
  }
  return number;
}

std::optional<double> Fields::number(std::string_view key, double least, double most) {
  const text::JsonValue* value = get(key, text::JsonKind::kNumber);
  if (value == nullptr) return std::nullopt;
  const std::optional<double> number = to_number(*value);
  if (!number || *number < least || *number > most) {
    error_.note(Cause::kInvalidValue, path(key), fmt::format("expected number from {} to {}", least, most));
    return std::nullopt;
  }
  return number;
}

void Fields::ignore(std::string_view key) {
  if (has(key)) ignored_.push_back(key);
}

void Fields::forbid(std::string_view key, std::string_view sentence) {
  if (has(key)) error_.note(Cause::kInvalidValue, path(key), sentence);
}

std::string Fields::path(std::string_view key) const {
  return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
}

std::vector<std::string> Fields::ignored() const {
  std::vector<std::string> names;
  for (const text::JsonMember& member : object_.members) {
    const bool known = std::ranges::find(known_, member.key) != known_.end();
    if (!known || std::ranges::find(ignored_, member.key) != ignored_.end()) names.push_back(member.key);
  }
  return names;
}

std::optional<std::string> Fields::unknown() const {
  for (const text::JsonMember& member : object_.members) {
    if (std::ranges::find(known_, member.key) == known_.end()) return member.key;
  }
  return std::nullopt;
}

std::optional<std::int64_t> to_integer(const text::JsonValue& value) {
  return value.is(text::JsonKind::kNumber) ? convert<std::int64_t>(value.text) : std::nullopt;
}

std::optional<double> to_number(const text::JsonValue& value) {
  const auto number = value.is(text::JsonKind::kNumber) ? convert<double>(value.text) : std::nullopt;
  return number && std::isfinite(*number) ? number : std::nullopt;
}

std::string ignored_header(const std::vector<std::string>& names) {
  constexpr std::size_t kMost = 16;
  constexpr std::string_view kAllowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
  std::string header;
  for (std::size_t i = 0; i < std::min(names.size(), kMost); ++i) {
    if (i > 0) header += ", ";
    const bool shown = !names[i].empty() && names[i].find_first_not_of(kAllowed) == std::string::npos;
    header += shown ? std::string_view(names[i]).substr(0, 64) : "?";
  }
  return header;
}

}  // namespace hadal::api
