#include "api/turn_name.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>

#include "text/json_text.h"

namespace hadal::api {
namespace {

/// Appends a field so that fields in a row cannot be mistaken for others.
void append_field(std::string& out, std::string_view text) {
  fmt::format_to(std::back_inserter(out), "{}:", text.size());
  out += text;
}

/// A whole number is spelled without point and exponent: clients in JavaScript send 1.0 back as 1.
std::string number_text(const std::string& text) {
  constexpr double kExact = 9007199254740992;  // 2^53
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || std::abs(value) >= kExact || value != std::trunc(value)) return text;
  return fmt::format("{}", static_cast<std::int64_t>(value));
}

void append_canonical(std::string& out, const text::JsonValue& value) {
  switch (value.kind) {
    case text::JsonKind::kNumber:
      out += number_text(value.text);
      return;
    case text::JsonKind::kArray:
      out += '[';
      for (const text::JsonValue& item : value.items) {
        append_canonical(out, item);
        out += ',';
      }
      out += ']';
      return;
    case text::JsonKind::kObject: {
      std::vector<const text::JsonMember*> members;
      members.reserve(value.members.size());
      for (const text::JsonMember& member : value.members) members.push_back(&member);
      std::ranges::sort(members, {}, [](const text::JsonMember* member) -> const std::string& { return member->key; });
      out += '{';
      for (const text::JsonMember* member : members) {
        text::append_json_string(out, member->key);
        out += ':';
        append_canonical(out, member->value);
        out += ',';
      }
      out += '}';
      return;
    }
    case text::JsonKind::kNull:
    case text::JsonKind::kBool:
    case text::JsonKind::kString:
      text::append_compact_json(out, value);
      return;
  }
}

void append_call(std::string& out, std::string_view name, std::string_view arguments) {
  append_field(out, name);
  const auto value = text::parse_json(arguments, {.non_finite = true});
  if (!value) return append_field(out, arguments);
  std::string canonical;
  append_canonical(canonical, *value);
  append_field(out, canonical);
}

Hash128 hash_of(std::string_view text) { return hash128(std::as_bytes(std::span(text))); }

}  // namespace

Hash128 IdHash::link() const {
  std::vector<std::int32_t> words{static_cast<std::int32_t>(chain_.low), static_cast<std::int32_t>(chain_.low >> 32),
                                  static_cast<std::int32_t>(chain_.high), static_cast<std::int32_t>(chain_.high >> 32)};
  words.insert(words.end(), open_.begin(), open_.end());
  return hash128(std::as_bytes(std::span(words)));
}

void IdHash::add(std::span<const std::int32_t> ids) {
  while (!ids.empty()) {
    const std::size_t taken = std::min(kBlock - open_.size(), ids.size());
    open_.insert(open_.end(), ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(taken));
    ids = ids.subspan(taken);
    if (open_.size() < kBlock) return;
    chain_ = link();
    open_.clear();
  }
}

Hash128 IdHash::value() const { return link(); }

TurnName turn_name(const text::ParsedMessage& message, std::span<const std::string> call_ids) {
  std::string body;
  append_field(body, message.reasoning_content);
  append_field(body, message.content);
  for (const text::ParsedCall& call : message.tool_calls) append_call(body, call.name, call.arguments);
  std::string ids;
  for (const std::string& id : call_ids) append_field(ids, id);
  return {hash_of(body), hash_of(ids)};
}

TurnName turn_name(const text::Message& message, bool has_reasoning) {
  std::string content = message.content.text;
  for (const text::ContentPart& part : message.content.parts) content += part.text;
  std::string body;
  append_field(body, has_reasoning ? std::string_view(message.reasoning_content) : std::string_view());
  append_field(body, content);
  std::string ids;
  for (const text::ToolCall& call : message.tool_calls) {
    append_call(body, call.name, call.arguments);
    append_field(ids, call.id.empty() ? call.function_id : call.id);
  }
  return {hash_of(body), hash_of(ids)};
}

}  // namespace hadal::api
