#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/answer.h"
#include "api/chat_answer.h"
#include "api/chat_choice.h"
#include "api/completion_answer.h"
#include "api/piece.h"
#include "api/request.h"

namespace hadal::server {

/// Makes the text of one answer from the tokens of its choices: events as they come, or one body at the end. What is
/// appended to `out` is sent; a writer of whole bodies appends nothing. Used under the answer's lock.
class AnswerWriter {
 public:
  AnswerWriter() = default;
  AnswerWriter(const AnswerWriter&) = delete;
  AnswerWriter& operator=(const AnswerWriter&) = delete;
  virtual ~AnswerWriter() = default;

  virtual void begin(std::int64_t choice, std::string& out) = 0;
  /// Shows the prompt in front of the choice, if it is to be shown. `tokens`: of the prompt, or none without logprobs.
  /// Called once, before the first push.
  virtual void echo(std::int64_t choice, std::vector<api::TokenLogprob> tokens, std::string& out) = 0;
  virtual void progress(std::int64_t choice, const api::PromptProgress& progress, std::string& out) = 0;
  /// The next token; not the one that stops the answer. True: nothing more is wanted of this choice.
  [[nodiscard]] virtual bool push(std::int64_t choice, const api::Piece& piece, const api::TokenLogprob& token,
                                  std::string& out) = 0;
  /// Ends the choice; `tail` is text that was still held. Returns the reason that the client is told, or nothing when
  /// the answer must end with an error instead; then nothing was appended.
  [[nodiscard]] virtual std::optional<std::string_view> end(std::int64_t choice, api::Ending ending,
                                                            std::string_view tail, std::string& out) = 0;
  /// The last event of an ended choice. `usage` is the request's so far, complete with the last choice.
  virtual void finish(std::int64_t choice, std::string_view reason, const api::Usage& usage, std::string& out) = 0;
  /// The ended choice as its client may send it back; nothing when that cannot mean its tokens.
  [[nodiscard]] virtual std::optional<api::TurnName> turn(std::int64_t choice) const = 0;
  /// The whole body, when all choices are finished; "" for a stream.
  [[nodiscard]] virtual std::string body(const api::Usage& usage) const = 0;
};

/// `random` makes the ids of calls and must outlive the writer.
[[nodiscard]] std::unique_ptr<AnswerWriter> chat_writer(const api::ChatRequest& request, api::AnswerHead head,
                                                        bool inside_reasoning, const api::RandomBits& random);

/// A prompt of a text completion, as its choices need it.
struct ShownPrompt {
  std::string text{};  // as it was given; offsets are counted behind it
  std::vector<std::int32_t> ids{};
};

/// Prompt p has the choices p * request.choices and following. `tokenizer` must outlive the writer.
[[nodiscard]] std::unique_ptr<AnswerWriter> completion_writer(const api::CompletionRequest& request,
                                                              api::AnswerHead head, const text::Tokenizer& tokenizer,
                                                              std::vector<ShownPrompt> prompts);

}  // namespace hadal::server
