#include "server/answer_writer.h"

#include <utility>

namespace hadal::server {
namespace {

class ChatWriter final : public AnswerWriter {
 public:
  ChatWriter(const api::ChatRequest& request, api::AnswerHead head, bool inside_reasoning,
             const api::RandomBits& random) {
    const api::Family family = head.family;
    api::ChatForm form = api::chat_form(request, std::move(head));
    for (std::int64_t i = 0; i < request.choices; ++i) {
      choices_.push_back(
          std::make_unique<api::ChatChoice>(family, api::choice_options(request, inside_reasoning), random));
    }
    if (request.stream.on) {
      stream_.emplace(std::move(form));
    } else {
      body_.emplace(std::move(form));
    }
  }

  void begin(std::int64_t choice, std::string& out) override {
    if (stream_) stream_->begin(choice, out);
  }

  void echo(std::int64_t /*choice*/, std::vector<api::TokenLogprob> /*tokens*/, std::string& /*out*/) override {}

  void progress(std::int64_t choice, const api::PromptProgress& progress, std::string& out) override {
    if (stream_) stream_->progress(choice, progress, out);
  }

  bool push(std::int64_t choice, const api::Piece& piece, const api::TokenLogprob& token, std::string& out) override {
    add(choice, at(choice).push(piece, token), out);
    return at(choice).ended();
  }

  std::optional<std::string_view> end(std::int64_t choice, api::Ending ending, std::string_view tail,
                                      std::string& out) override {
    const auto deltas = at(choice).finish(ending, tail);
    if (at(choice).reason()) add(choice, deltas, out);
    return at(choice).reason();
  }

  void finish(std::int64_t choice, std::string_view reason, const api::Usage& usage, std::string& out) override {
    if (stream_) {
      stream_->finish(choice, reason, usage, out);
    } else {
      body_->finish(choice, reason);
    }
  }

  std::optional<api::TurnName> turn(std::int64_t choice) const override {
    return choices_[static_cast<std::size_t>(choice)]->turn();
  }

  std::string body(const api::Usage& usage) const override { return body_ ? body_->text(usage) : std::string(); }

 private:
  api::ChatChoice& at(std::int64_t choice) { return *choices_[static_cast<std::size_t>(choice)]; }

  void add(std::int64_t choice, std::span<const api::Delta> deltas, std::string& out) {
    if (stream_) {
      stream_->add(choice, deltas, out);
    } else {
      body_->add(choice, deltas);
    }
  }

  std::vector<std::unique_ptr<api::ChatChoice>> choices_;
  std::optional<api::ChatStream> stream_;
  std::optional<api::ChatBody> body_;
};

class CompletionWriter final : public AnswerWriter {
 public:
  CompletionWriter(const api::CompletionRequest& request, api::AnswerHead head, const text::Tokenizer& tokenizer,
                   std::vector<ShownPrompt> prompts)
      : echo_(request.echo), per_prompt_(request.choices), tokenizer_(tokenizer), prompts_(std::move(prompts)) {
    api::TextForm form = api::text_form(request, std::move(head));
    for (const ShownPrompt& prompt : prompts_) {
      for (std::int64_t i = 0; i < request.choices; ++i) choices_.emplace_back(request, prompt.text);
    }
    if (request.stream.on) {
      stream_.emplace(std::move(form));
    } else {
      body_.emplace(std::move(form));
    }
  }

  void begin(std::int64_t choice, std::string& out) override {
    if (stream_) stream_->begin(choice, out);
  }

  void echo(std::int64_t choice, std::vector<api::TokenLogprob> tokens, std::string& out) override {
    if (!echo_) return;
    const std::vector<std::int32_t>& ids = prompts_[static_cast<std::size_t>(choice / per_prompt_)].ids;
    add(choice, at(choice).echo(api::echo_of(tokenizer_, ids, std::move(tokens))), out);
  }

  void progress(std::int64_t /*choice*/, const api::PromptProgress& /*progress*/, std::string& /*out*/) override {}

  bool push(std::int64_t choice, const api::Piece& piece, const api::TokenLogprob& token, std::string& out) override {
    add(choice, at(choice).push(piece, token), out);
    return at(choice).ended();
  }

  std::optional<std::string_view> end(std::int64_t choice, api::Ending ending, std::string_view tail,
                                      std::string& out) override {
    const api::TextDelta delta = at(choice).finish(ending, tail);
    if (at(choice).reason()) add(choice, delta, out);
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

 private:
  api::TextChoice& at(std::int64_t choice) { return choices_[static_cast<std::size_t>(choice)]; }

  void add(std::int64_t choice, const api::TextDelta& delta, std::string& out) {
    if (stream_) {
      if (!delta.text.empty() || !delta.tokens.empty()) stream_->add(choice, delta, out);
    } else {
      body_->add(choice, delta);
    }
  }

  bool echo_;
  std::int64_t per_prompt_;
  const text::Tokenizer& tokenizer_;
  std::vector<ShownPrompt> prompts_;
  std::vector<api::TextChoice> choices_;
  std::optional<api::TextStream> stream_;
  std::optional<api::TextBody> body_;
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
