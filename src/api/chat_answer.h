#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/answer.h"
#include "api/chat_choice.h"
#include "api/request.h"

namespace hadal::api {

/// What decides the shape of a chat's answer.
struct ChatForm {
  AnswerHead head{};
  std::int64_t choices = 1;
  bool shows_reasoning = true;  // the field reasoning_content is there
  bool logprobs = false;
  bool include_usage = false;
};
[[nodiscard]] ChatForm chat_form(const ChatRequest& request, AnswerHead head);

/// Progress of the prompt before the first token.
struct PromptProgress {
  std::int64_t total = 0, cached = 0, processed = 0;  // tokens
  std::int64_t milliseconds = 0;
};

/// Events of a streamed chat, ready to be sent. Each function appends whole events.
class ChatStream {
 public:
  explicit ChatStream(ChatForm form);

  /// The first event of a choice.
  void begin(std::int64_t choice, std::string& out) const;
  void progress(std::int64_t choice, const PromptProgress& progress, std::string& out) const;
  void add(std::int64_t choice, std::span<const Delta> deltas, std::string& out) const;
  /// The last event of a choice. `usage` is that of the whole request, known when the last choice ends; behind it
  /// stand the family's usage event and [DONE].
  void finish(std::int64_t choice, std::string_view reason, const Usage& usage, std::string& out);

 private:
  /// `delta` and `logprobs` are JSON; an empty `reason` is null.
  void chunk(std::int64_t choice, std::string_view delta, std::string_view logprobs, std::string_view reason,
             std::string_view usage, std::string& out) const;
  void delta_text(const Delta& delta, std::string& out) const;

  ChatForm form_;
  std::string head_;  // the members that all chunks begin with
  std::int64_t finished_ = 0;
};

/// The whole answer of a chat that is not streamed.
class ChatBody {
 public:
  explicit ChatBody(ChatForm form);
  void add(std::int64_t choice, std::span<const Delta> deltas);
  void finish(std::int64_t choice, std::string_view reason);
  /// All choices must be finished.
  [[nodiscard]] std::string text(const Usage& usage) const;

 private:
  struct Call {
    std::string id, name, arguments;
  };
  struct Choice {
    std::string content, reasoning, reason;
    std::vector<Call> calls;
    std::vector<TokenLogprob> content_tokens, reasoning_tokens;
  };
  void append_choice(std::size_t index, std::string& out) const;

  ChatForm form_;
  std::vector<Choice> choices_;
};

}  // namespace hadal::api
