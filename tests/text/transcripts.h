#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "text/chat_render.h"
#include "text/generated_chats.h"

// Outputs of a model as it may write them, for tests of what reads them.
namespace hadal::text {

/// What the model would have written for `message`, and whether it began inside the reasoning.
struct Output {
  std::string text;
  bool thinking = false;
};

inline Output output_of(const Message& message, const RenderOptions& options) {
  std::vector<Message> chat{{.role = "user", .content = {.text = "question"}}};
  const RenderedPrompt before = render_chat(chat, options).value();
  chat.push_back(message);
  const RenderedPrompt after = render_chat(chat, options).value();
  constexpr std::string_view kEos = "<｜end▁of▁sentence｜>";
  EXPECT_TRUE(after.text.starts_with(before.text));
  EXPECT_TRUE(after.text.ends_with(kEos));
  const std::size_t size = after.text.size() - before.text.size() - kEos.size();
  return {after.text.substr(before.text.size(), size), before.inside_reasoning};
}

/// A transcript: well-formed, damaged in a few places, or fragments at random.
inline std::string transcript(Choices& choices) {
  std::string text;
  const std::size_t way = choices.below(3);
  if (way < 2) {
    text = output_of(assistant_message(choices), {.thinking_mode = choices.one_in(2) ? "chat" : "thinking"}).text;
  }
  if (way == 1) {
    for (std::size_t damage = 1 + choices.below(3); damage > 0; --damage) {
      std::size_t at = choices.below(text.size() + 1);
      while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) ++at;
      if (choices.one_in(3)) {
        text.resize(at);
      } else {
        text.insert(at, choices.of(kFragments));
      }
    }
  }
  if (way == 2) {
    for (std::size_t count = choices.below(24); count > 0; --count) text += choices.of(kFragments);
  }
  return text;
}

}  // namespace hadal::text
