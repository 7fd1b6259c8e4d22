#include "engine/chat_session.h"

#include <utility>

namespace hadal::engine {
namespace {

/// Splits the text of an answer into reasoning and content on its way to a ReplySink.
class ReplyParser final : public TokenSink {
 public:
  ReplyParser(const ReplySink& sink, bool inside_reasoning)
      : sink_(sink), parser_({.thinking = inside_reasoning, .tools = false}) {}

  Status prefilled(std::int64_t done, std::int64_t total) override {
    return sink_.prefilled ? sink_.prefilled(done, total) : Status{};
  }
  Result<bool> token(const TokenEvent& event) override {
    if (sink_.token) HADAL_TRY(sink_.token(event));
    HADAL_TRY(forward(parser_.push(event.text)));
    return false;
  }
  Status tail(std::string_view text) override { return forward(parser_.push(text)); }

  Result<text::ParsedMessage> finish(FinishReason reason) {
    const bool cut = reason == FinishReason::kMaxTokens || reason == FinishReason::kContextFull;
    HADAL_TRY(forward(parser_.finish(cut ? text::StopReason::kLength : text::StopReason::kStop)));
    return std::move(parser_).take_message();
  }

 private:
  Status forward(std::span<const text::ChatEvent> events) {
    if (!sink_.chat_event) return {};
    for (const text::ChatEvent& event : events) HADAL_TRY(sink_.chat_event(event));
    return {};
  }

  const ReplySink& sink_;
  text::ChatParser parser_;
};

}  // namespace

ChatSession::ChatSession(const text::Tokenizer& tokenizer, ChatStyle style, std::int64_t eos,
                         std::unique_ptr<Session> session)
    : tokenizer_(tokenizer), style_(std::move(style)), eos_(eos), session_(std::move(session)) {}

Result<std::unique_ptr<ChatSession>> ChatSession::create(model::Executor& executor, const text::Tokenizer& tokenizer,
                                                         ChatStyle style, GeneratorOptions options) {
  const auto eos = tokenizer.eos_id();
  if (!eos) {
    return fail(ErrorCode::kUnsupported,
                "the tokenizer has no end-of-sentence token, so it cannot write a chat; use raw text instead");
  }
  HADAL_ASSIGN(auto session, Session::create(executor, &tokenizer, std::move(options)));
  return std::unique_ptr<ChatSession>(new ChatSession(tokenizer, std::move(style), *eos, std::move(session)));
}

void ChatSession::set_style(ChatStyle style) {
  style_ = std::move(style);
  held_messages_ = 0;
}

void ChatSession::reset() {
  messages_.clear();
  held_messages_ = 0;
}

Result<std::vector<std::int64_t>> ChatSession::prompt(bool& inside_reasoning) const {
  text::RenderOptions options{.revision = style_.revision, .thinking_mode = style_.thinking ? "thinking" : "chat"};
  if (!style_.effort.empty()) options.reasoning_effort = style_.effort;
  std::vector<text::Message> context;
  if (!style_.system.empty()) context.push_back({.role = "system", .content = {.text = style_.system}});
  const std::size_t system = context.size();
  context.insert(context.end(), messages_.begin(), messages_.end());

  const auto held = session_->sequence().tokens();
  const bool continues = held_messages_ > 0 && !held.empty();
  const std::size_t shown = continues ? system + held_messages_ : 0;
  auto rendered = text::render_chat(std::span(context).subspan(shown), options, std::span(context).first(shown));
  if (!rendered) return tl::unexpected<Error>(rendered.error().to_error());
  inside_reasoning = rendered->inside_reasoning;
  HADAL_ASSIGN(const auto ids, tokenizer_.encode(rendered->text, {.untrusted = rendered->caller_ranges}));
  std::vector<std::int64_t> tokens;
  if (continues) {
    tokens.assign(held.begin(), held.end());
    if (tokens.back() != eos_) tokens.push_back(eos_);  // the answer was cut; the format ends it all the same
  }
  tokens.insert(tokens.end(), ids.begin(), ids.end());
  return tokens;
}

Result<Reply> ChatSession::reply(std::string user, GenerationOptions options, const ReplySink& sink,
                                 std::stop_token stop) {
  messages_.push_back({.role = "user", .content = {.text = std::move(user)}});
  bool inside_reasoning = false;
  const auto run = [&]() -> Result<Reply> {
    HADAL_ASSIGN(const auto tokens, prompt(inside_reasoning));
    Reply reply;
    reply.prompt_tokens = static_cast<std::int64_t>(tokens.size());
    HADAL_ASSIGN(reply.reused_tokens, session_->set_prompt(tokens));
    options.stop_tokens.push_back(eos_);
    ReplyParser parser(sink, inside_reasoning);
    // The next turn rewrites what follows the last marker of the prompt when it drops the reasoning.
    const std::int64_t mark = style_.thinking ? reply.prompt_tokens - 1 : -1;
    HADAL_TRY(session_->generate(options, parser, stop, mark));
    reply.reason = session_->sequence().reason();
    reply.statistics = session_->sequence().statistics();
    HADAL_ASSIGN(reply.message, parser.finish(reply.reason));
    return reply;
  };
  Result<Reply> reply = run();
  if (!reply || (reply->reason == FinishReason::kCancelled && reply->statistics.answer_tokens == 0)) {
    messages_.pop_back();
    held_messages_ = 0;
    return reply;
  }
  messages_.push_back({.role = "assistant",
                       .content = {.text = reply->message.content},
                       .reasoning_content = reply->message.reasoning_content});
  // A stop string is part of the tokens but not of the answer, and reasoning is dropped: both need writing anew.
  const bool exact = !style_.thinking && reply->reason != FinishReason::kStopString;
  held_messages_ = exact ? messages_.size() : 0;
  return reply;
}

}  // namespace hadal::engine
