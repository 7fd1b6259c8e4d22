#include "server/answer_writer.h"

#include <deque>
#include <utility>

namespace hadal::server {
namespace {

/// A writer whose choices are of one kind. What they make goes into events or into a whole body.
template <class Choice, class Stream, class Body>
class ChoicesWriter : public AnswerWriter {
 public:
  template <class Form>
  ChoicesWriter(Form form, bool streams) {
    if (streams) {
      stream_.emplace(std::move(form));
    } else {
      body_.emplace(std::move(form));
    }
  }

  void begin(std::int64_t choice, std::string& out) override {
    if (stream_) stream_->begin(choice, out);
  }

  void echo(std::int64_t /*choice*/, std::vector<api::TokenLogprob> /*tokens*/, std::string& /*out*/) override {}

  void progress(std::int64_t /*choice*/, const api::PromptProgress& /*progress*/, std::string& /*out*/) override {}

  bool push(std::int64_t choice, const api::Piece& piece, const api::TokenLogprob& token, std::string& out) override {
    add(choice, at(choice).push(piece, token), out);
    return at(choice).ended();
  }

  std::optional<std::string_view> end(std::int64_t choice, api::Ending ending, std::string_view tail,
                                      std::string& out) override {
    const auto made = at(choice).finish(ending, tail);
    if (at(choice).reason()) add(choice, made, out);
    return at(choice).reason();
  }

  void finish(std::int64_t choice, std::string_view reason, const api::Usage& usage, std::string& out) override {
    if (stream_) {
      stream_->finish(choice, reason, usage, out);
    } else {
      body_->finish(choice, reason);
    }
  }

  std::optional<api::TurnName> turn(std::int64_t /*choice*/) const override { return std::nullopt; }

  std::string body(const api::Usage& usage) const override { return body_ ? body_->text(usage) : std::string(); }

 protected:
  /// The next choice.
  template <class... Args>
  void add_choice(Args&&... args) {
    choices_.emplace_back(std::forward<Args>(args)...);
  }
  Choice& at(std::int64_t choice) { return choices_[static_cast<std::size_t>(choice)]; }
  const Choice& at(std::int64_t choice) const { return choices_[static_cast<std::size_t>(choice)]; }
  Stream* stream() { return stream_ ? &*stream_ : nullptr; }

  /// What a choice made, in its kind's own form.
  template <class Made>
  void add(std::int64_t choice, const Made& made, std::string& out) {
    if (stream_) {
      stream_->add(choice, made, out);
    } else {
      body_->add(choice, made);
    }
  }

 private:
  std::deque<Choice> choices_;  // which cannot be moved
  std::optional<Stream> stream_;
  std::optional<Body> body_;
};

class ChatWriter final : public ChoicesWriter<api::ChatChoice, api::ChatStream, api::ChatBody> {
 public:
  ChatWriter(const api::ChatRequest& request, const api::AnswerHead& head, bool inside_reasoning,
             const api::RandomBits& random)
      : ChoicesWriter(api::chat_form(request, head), request.stream.on) {
    for (std::int64_t i = 0; i < request.choices; ++i) {
      add_choice(head.family, api::choice_options(request, inside_reasoning), random);
    }
  }

  void progress(std::int64_t choice, const api::PromptProgress& progress, std::string& out) override {
    if (stream() != nullptr) stream()->progress(choice, progress, out);
  }

  std::optional<api::TurnName> turn(std::int64_t choice) const override { return at(choice).turn(); }
};

class CompletionWriter final : public ChoicesWriter<api::TextChoice, api::TextStream, api::TextBody> {
 public:
  CompletionWriter(const api::CompletionRequest& request, api::AnswerHead head, const text::Tokenizer& tokenizer,
                   std::vector<ShownPrompt> prompts)
      : ChoicesWriter(api::text_form(request, std::move(head)), request.stream.on),
        echo_(request.echo),
        per_prompt_(request.choices),
        tokenizer_(tokenizer),
        prompts_(std::move(prompts)) {
    for (const ShownPrompt& prompt : prompts_) {
      for (std::int64_t i = 0; i < request.choices; ++i) add_choice(request, prompt.text);
    }
  }

  void echo(std::int64_t choice, std::vector<api::TokenLogprob> tokens, std::string& out) override {
    if (!echo_) return;
    const std::vector<std::int32_t>& ids = prompts_[static_cast<std::size_t>(choice / per_prompt_)].ids;
    add(choice, at(choice).echo(api::echo_of(tokenizer_, ids, std::move(tokens))), out);
  }

 private:
  bool echo_;
  std::int64_t per_prompt_;
  const text::Tokenizer& tokenizer_;
  std::vector<ShownPrompt> prompts_;
};

}  // namespace

std::unique_ptr<AnswerWriter> chat_writer(const api::ChatRequest& request, api::AnswerHead head, bool inside_reasoning,
                                          const api::RandomBits& random) {
  return std::make_unique<ChatWriter>(request, std::move(head), inside_reasoning, random);
}

std::unique_ptr<AnswerWriter> completion_writer(const api::CompletionRequest& request, api::AnswerHead head,
                                                const text::Tokenizer& tokenizer, std::vector<ShownPrompt> prompts) {
  return std::make_unique<CompletionWriter>(request, std::move(head), tokenizer, std::move(prompts));
}

}  // namespace hadal::server
