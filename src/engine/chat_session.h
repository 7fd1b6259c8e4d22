#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/session.h"
#include "text/chat_message.h"
#include "text/chat_parser.h"
#include "text/chat_render.h"
#include "text/tokenizer.h"

namespace hadal::engine {

/// How a chat is written for the model.
struct ChatStyle {
  text::ChatRevision revision = text::ChatRevision::k0731;
  bool thinking = false;
  std::string effort{};  // low, high, max; empty: the default of the encoding
  std::string system{};  // text of the system message; empty: none
};

/// Receives an answer as it is written. Unset members are not called.
struct ReplySink {
  std::function<Status(std::int64_t done, std::int64_t total)> prefilled{};
  std::function<Status(const TokenEvent& event)> token{};            // every token, with its raw text
  std::function<Status(const text::ChatEvent& event)> chat_event{};  // reasoning and content, markers removed
};

struct Reply {
  text::ParsedMessage message;
  FinishReason reason = FinishReason::kNone;
  GenerationStatistics statistics;
  std::int64_t reused_tokens = 0;  // of the prompt, not fed again
  std::int64_t prompt_tokens = 0;
};

/// A chat in the V4 format: keeps the messages, and the model's state between turns. A turn feeds its new text only,
/// after the very ids of what went before; where the format rewrites the past (the reasoning of earlier turns is
/// dropped), it goes on from the state kept at the last position that still holds. Texts of people are "guarded": the
/// markers of the format inside them are ordinary text.
class ChatSession {
 public:
  /// `tokenizer` and `executor` must outlive it. Errors: as Session::create, kUnsupported (a tokenizer without EOS).
  [[nodiscard]] static Result<std::unique_ptr<ChatSession>> create(model::Executor& executor,
                                                                   const text::Tokenizer& tokenizer, ChatStyle style,
                                                                   GeneratorOptions options);

  /// Adds the user's message and answers it; the stop token of the format is added to the options. After an error the
  /// message is taken back; a cancelled answer stays in the chat as far as it went. Errors: as Session::generate.
  [[nodiscard]] Result<Reply> reply(std::string user, GenerationOptions options, const ReplySink& sink,
                                    std::stop_token stop = {});

  [[nodiscard]] const ChatStyle& style() const { return style_; }
  /// Counts from the next turn on; the past is written anew for it.
  void set_style(ChatStyle style);
  /// Forgets all messages but the system message.
  void reset();
  /// The messages so far, without the system message.
  [[nodiscard]] std::span<const text::Message> messages() const { return messages_; }
  [[nodiscard]] const Session& session() const { return *session_; }

 private:
  ChatSession(const text::Tokenizer& tokenizer, ChatStyle style, std::int64_t eos, std::unique_ptr<Session> session);
  /// Ids of the prompt for all messages, and whether it ends inside the reasoning.
  [[nodiscard]] Result<std::vector<std::int64_t>> prompt(bool& inside_reasoning) const;

  const text::Tokenizer& tokenizer_;
  ChatStyle style_;
  std::int64_t eos_;
  std::unique_ptr<Session> session_;
  std::vector<text::Message> messages_;
  std::size_t held_messages_ = 0;  // of them the session's tokens are the encoding; 0: write everything anew
};

}  // namespace hadal::engine
