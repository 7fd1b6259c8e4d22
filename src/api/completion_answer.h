#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/answer.h"
#include "api/piece.h"
#include "api/request.h"
#include "api/visible_tokens.h"
#include "text/stop_strings.h"

namespace hadal::api {

/// A piece of a text completion. `offsets` are the characters (Unicode scalar values) before each token, counted from
/// the beginning of the prompt.
struct TextDelta {
  std::string text{};
  std::vector<TokenLogprob> tokens{};  // with logprobs only
  std::vector<std::int64_t> offsets{};
};

/// A prompt that is shown in front of the answer.
struct Echo {
  std::string text{};
  std::vector<std::string> pieces{};   // what each token made showable
  std::vector<TokenLogprob> tokens{};  // with logprobs only
};
/// The text of a prompt's ids without special tokens. `tokens`: none, or one for each id; the first one that is shown
/// has no logprob.
[[nodiscard]] Echo echo_of(const text::Tokenizer& tokenizer, std::span<const std::int32_t> ids,
                           std::vector<TokenLogprob> tokens = {});

/// One choice of a text completion: generated text up to a stop string.
class TextChoice {
 public:
  /// `prompt`: its text, which offsets are counted behind.
  TextChoice(const CompletionRequest& request, std::string_view prompt);

  /// With echo: the prompt as the first delta. Called before the first push.
  [[nodiscard]] TextDelta echo(Echo prompt);
  /// The next token, as ChatChoice::push.
  [[nodiscard]] TextDelta push(const Piece& piece, const TokenLogprob& token = {});
  [[nodiscard]] bool ended() const { return ended_; }
  [[nodiscard]] TextDelta finish(Ending ending, std::string_view tail = {});
  [[nodiscard]] std::optional<std::string_view> reason() const { return reason_; }

 private:
  [[nodiscard]] TextDelta take(std::string_view piece);
  [[nodiscard]] TextDelta made(VisibleTokens::Run run);

  Family family_;
  bool logprobs_;
  bool show_stop_;
  bool show_special_;
  bool ended_ = false;
  text::StopStrings stops_;
  VisibleTokens tokens_;
  std::int64_t characters_ = 0;  // of the prompt and the text so far
  std::optional<std::string_view> reason_{};
};

/// What decides the shape of a completion's answer.
struct TextForm {
  AnswerHead head{};
  std::int64_t choices = 1;  // of all prompts
  bool logprobs = false;
  bool include_usage = false;
};
[[nodiscard]] TextForm text_form(const CompletionRequest& request, AnswerHead head);

/// Events of a streamed completion. Each function appends whole events.
class TextStream {
 public:
  explicit TextStream(TextForm form) : form_(std::move(form)) {}
  void begin(std::int64_t choice, std::string& out) const { chunk(choice, {}, "", "", out); }
  void add(std::int64_t choice, const TextDelta& delta, std::string& out) const;
  /// As ChatStream::finish.
  void finish(std::int64_t choice, std::string_view reason, const Usage& usage, std::string& out);

 private:
  void chunk(std::int64_t choice, const TextDelta& delta, std::string_view reason, std::string_view usage,
             std::string& out) const;

  TextForm form_;
  std::int64_t finished_ = 0;
};

/// The whole answer of a completion that is not streamed.
class TextBody {
 public:
  explicit TextBody(TextForm form) : form_(std::move(form)), choices_(static_cast<std::size_t>(form_.choices)) {}
  void add(std::int64_t choice, const TextDelta& delta);
  void finish(std::int64_t choice, std::string_view reason);
  [[nodiscard]] std::string text(const Usage& usage) const;

 private:
  struct Choice {
    TextDelta all;
    std::string reason;
  };
  TextForm form_;
  std::vector<Choice> choices_;
};

}  // namespace hadal::api
