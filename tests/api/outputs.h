#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/chat_answer.h"
#include "api/chat_choice.h"
#include "text/chat_markers.h"
#include "text/json_text.h"

// Outputs of a model as pieces, and answers as clients put them together, for tests.
namespace hadal::api {

/// Bits that a counter gives, spread over the word.
inline RandomBits counter() {
  return [n = std::uint64_t{0}]() mutable { return ++n * 0x9E3779B97F4A7C15; };
}

inline ChatForm form(Family family, bool reasoning) {
  return {.head = {.family = family, .id = "id", .created = 7, .model = "m", .fingerprint = "fp"},
          .shows_reasoning = reasoning};
}

inline TokenLogprob token(std::string bytes, std::optional<double> logprob) {
  TokenLogprob out;
  out.bytes = std::move(bytes);
  out.logprob = logprob;
  return out;
}

inline constexpr std::array<std::string_view, 3> kMarkers{text::marker::kThink, text::marker::kThinkEnd,
                                                          text::marker::kDsml};

/// The first marker at or behind `from`: where it stands and which one it is; npos when there is none.
inline std::pair<std::size_t, std::string_view> find_marker(std::string_view text, std::size_t from = 0) {
  std::pair<std::size_t, std::string_view> first{std::string_view::npos, {}};
  for (const std::string_view marker : kMarkers) {
    if (const std::size_t at = text.find(marker, from); at < first.first) first = {at, marker};
  }
  return first;
}

/// Pushes a text whose markers are tokens; all deltas of it.
inline std::vector<Delta> say(ChatChoice& choice, std::string_view text) {
  std::vector<Delta> out;
  while (!text.empty()) {
    const auto [at, marker] = find_marker(text);
    const std::span<const Delta> deltas = choice.push({.text = text.substr(0, at), .special = marker});
    out.insert(out.end(), deltas.begin(), deltas.end());
    text.remove_prefix(std::min(at, text.size() - marker.size()) + marker.size());
  }
  return out;
}

inline std::string visible(std::span<const Delta> deltas) {
  std::string text;
  for (const Delta& delta : deltas) text += delta.text;
  return text;
}

/// A message as a client puts it together from events.
struct Assembled {
  std::string content, reasoning, reason;
  std::vector<std::string> calls;  // "id name arguments"
  int roles = 0, reasons = 0;
  friend bool operator==(const Assembled&, const Assembled&) = default;
};

inline void PrintTo(const Assembled& message, std::ostream* out) {
  *out << "content '" << message.content << "', reasoning '" << message.reasoning << "', " << message.reason << ", "
       << message.calls.size() << " calls, " << message.roles << " roles, " << message.reasons << " reasons";
}

inline Assembled assemble(std::string_view events) {
  Assembled out;
  while (!events.starts_with(kDone)) {
    const std::size_t end = events.find("\n\n");
    const auto json = text::parse_json(events.substr(6, end - 6));
    EXPECT_TRUE(json) << events.substr(0, end);
    events.remove_prefix(end + 2);
    const text::JsonValue& choice = json->find("choices")->items[0];
    const text::JsonValue& delta = *choice.find("delta");
    if (delta.find("role") != nullptr) ++out.roles;
    if (const auto* text = delta.find("content")) out.content += text->text;
    if (const auto* text = delta.find("reasoning_content")) out.reasoning += text->text;
    if (const auto* calls = delta.find("tool_calls")) {
      const text::JsonValue& call = calls->items[0];
      const text::JsonValue& function = *call.find("function");
      if (const auto* id = call.find("id")) out.calls.push_back(id->text + " " + function.find("name")->text + " ");
      EXPECT_EQ(call.find("index")->text, std::to_string(out.calls.size() - 1));
      out.calls.back() += function.find("arguments")->text;
    }
    if (const auto& reason = *choice.find("finish_reason"); !reason.text.empty()) {
      out.reason = reason.text;
      ++out.reasons;
    }
  }
  EXPECT_EQ(events, kDone);
  return out;
}

inline Assembled read_whole(std::string_view body) {
  const auto json = text::parse_json(body);
  EXPECT_TRUE(json);
  Assembled out;
  out.roles = out.reasons = 1;
  const text::JsonValue& choice = json->find("choices")->items[0];
  const text::JsonValue& message = *choice.find("message");
  out.reason = choice.find("finish_reason")->text;
  out.content = message.find("content")->text;
  if (const auto* text = message.find("reasoning_content")) out.reasoning = text->text;
  if (const auto* calls = message.find("tool_calls")) {
    for (const text::JsonValue& call : calls->items) {
      const text::JsonValue& function = *call.find("function");
      out.calls.push_back(call.find("id")->text + " " + function.find("name")->text + " " +
                          function.find("arguments")->text);
    }
  }
  return out;
}

}  // namespace hadal::api
