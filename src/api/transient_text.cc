#include "api/transient_text.h"

#include <algorithm>
#include <optional>

namespace hadal::api {
namespace {

constexpr std::string_view kHeader = "x-anthropic-billing-header:";
constexpr std::string_view kKey = "cch=";

/// Replaces the value of the first `cch` in the header's line; the length of the old one.
std::optional<std::int64_t> replace_value(std::string& text) {
  if (!text.starts_with(kHeader)) return std::nullopt;
  const std::size_t line = std::min(text.find('\n'), text.size());
  for (std::size_t at = kHeader.size(); (at = text.find(kKey, at)) < line; at += kKey.size()) {
    const char before = text[at - 1];
    if (before != ' ' && before != ';' && before != ':') continue;  // the end of another key
    const std::size_t value = at + kKey.size();
    const std::size_t end = std::min(text.find(';', value), line);
    text.erase(value, end - value);
    text.insert(value, 1, '0');
    return static_cast<std::int64_t>(end - value);
  }
  return std::nullopt;
}

}  // namespace

std::vector<StableText> make_stable(std::vector<text::Message>& messages) {
  std::vector<StableText> out;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    text::Message& message = messages[i];
    if (message.role != "system") continue;
    const auto apply = [&](std::string& text) {
      if (const auto replaced = replace_value(text)) {
        out.push_back({static_cast<std::int64_t>(i), "x-anthropic-billing-header cch", *replaced});
      }
    };
    apply(message.content.text);
    for (text::ContentPart& part : message.content.parts) apply(part.text);
  }
  return out;
}

}  // namespace hadal::api
