#include "api/chat_choice.h"

#include <fmt/core.h>

#include <utility>

#include "text/chat_markers.h"

namespace hadal::api {

ChatChoiceOptions choice_options(const ChatRequest& request, bool inside_reasoning) {
  ChatChoiceOptions options;
  options.inside_reasoning = inside_reasoning;
  options.tools = !request.tools.list.empty();
  if (request.continues) {
    const text::Message& begun = request.messages.back();
    if (request.thinking.on) options.before_reasoning = begun.reasoning_content;
    options.before_content = begun.content.text;
  }
  options.one_call = !request.tools.parallel;
  options.reasoning = request.thinking.on ? request.reasoning : ReasoningPlace::kNowhere;
  options.stops = request.stop.strings;
  options.show_stop = request.stop.include_in_output;
  options.show_special = !request.skip_special_tokens;
  options.logprobs = request.logprobs.on;
  return options;
}

ChatChoice::ChatChoice(Family family, ChatChoiceOptions options, const RandomBits& random)
    : family_(family),
      options_(std::move(options)),
      random_(random),
      parser_({.thinking = options_.inside_reasoning, .tools = options_.tools, .marker_tokens = true}),
      stops_(options_.stops) {}

std::span<const Delta> ChatChoice::push(const Piece& piece, const TokenLogprob& token) {
  deltas_.clear();
  if (ended_) return deltas_;
  if (parser_.inside_reasoning()) ++reasoning_tokens_;
  const bool marker = piece.special == text::marker::kThink || piece.special == text::marker::kThinkEnd ||
                      piece.special == text::marker::kDsml;
  const bool shown = options_.show_special && !marker && !piece.special.empty();
  if (options_.logprobs) tokens_.push(piece, shown, token);
  dropped_ |= !piece.special.empty() && !marker;
  if (shown) {
    take(parser_.push(fmt::format("{}{}", piece.text, piece.special)));
  } else {
    take(parser_.push(piece.text, piece.special));
  }
  return deltas_;
}

std::span<const Delta> ChatChoice::finish(Ending ending, std::string_view tail) {
  deltas_.clear();
  if (!ended_) {
    if (options_.logprobs) tokens_.extend(tail);
    take(parser_.push(tail));
  }
  if (!ended_) {
    const bool cut = ending == Ending::kMaxTokens || ending == Ending::kContextFull || ending == Ending::kNoResources;
    take(parser_.finish(cut ? text::StopReason::kLength : text::StopReason::kStop));
  }
  if (!ended_ && call_ids_.empty()) {
    std::string held;
    stops_.finish(held);
    show(DeltaKind::kContent, held);
  }
  flush();
  close_thinking();
  const bool own = ended_;  // a stop string or the one call ended it before the engine did
  ended_ = true;
  complete_ =
      !own && !dropped_ && (ending == Ending::kEos || ending == Ending::kMaxTokens || ending == Ending::kContextFull);
  reason_ = finish_reason(family_, stopped_ ? Ending::kStopString : own ? Ending::kEos : ending, !call_ids_.empty());
  return deltas_;
}

std::optional<TurnName> ChatChoice::turn() const {
  const bool elsewhere = options_.inside_reasoning && options_.reasoning != ReasoningPlace::kField;
  if (!complete_ || elsewhere || parser_.inside_reasoning()) return std::nullopt;
  text::ParsedMessage message = parser_.message();
  if (!message.warnings.empty()) return std::nullopt;
  message.reasoning_content.insert(0, options_.before_reasoning);
  message.content.insert(0, options_.before_content);
  return turn_name(message, call_ids_);
}

void ChatChoice::take(std::span<const text::ChatEvent> events) {
  for (const text::ChatEvent& event : events) {
    if (ended_) return;
    switch (event.kind) {
      case text::ChatEventKind::kReasoning:
        add_reasoning(event.text);
        break;
      case text::ChatEventKind::kContent:
        add_content(event.text);
        break;
      case text::ChatEventKind::kCallBegin:
        if (options_.one_call && !call_ids_.empty()) {
          ended_ = true;
          return;
        }
        begin_call(event.text);
        break;
      case text::ChatEventKind::kArguments:
        deltas_.push_back({.kind = DeltaKind::kArguments, .call = event.call, .text = std::string(event.text)});
        break;
      case text::ChatEventKind::kCallEnd:
        break;
    }
  }
}

void ChatChoice::add_reasoning(std::string_view text) {
  if (options_.reasoning == ReasoningPlace::kContent && !thinking_open_) {
    thinking_open_ = true;
    deltas_.push_back({.kind = DeltaKind::kContent, .text = std::string(text::marker::kThink)});
  }
  show(DeltaKind::kReasoning, text);
}

void ChatChoice::add_content(std::string_view text) {
  std::string certain;
  stopped_ = stops_.push(text, certain);
  if (stopped_ && options_.show_stop) certain += stops_.match();
  show(DeltaKind::kContent, certain);
  ended_ = stopped_;
}

void ChatChoice::begin_call(std::string_view name) {
  std::string held;
  stops_.finish(held);
  show(DeltaKind::kContent, held);
  flush();
  close_thinking();
  options_.logprobs = false;  // tokens of calls are not told
  const int call = static_cast<int>(call_ids_.size());
  call_ids_.push_back(call_id(family_, call, random_));
  deltas_.push_back(
      {.kind = DeltaKind::kCallBegin, .call = call, .call_id = call_ids_.back(), .text = std::string(name)});
}

void ChatChoice::show(DeltaKind kind, std::string_view text) {
  if (text.empty()) return;
  if (kind != shown_) {
    if (options_.logprobs) emit(shown_, tokens_.settle());
    shown_ = kind;
  }
  if (options_.logprobs) {
    emit(kind, tokens_.show(text));
  } else {
    emit(kind, {.text = std::string(text)});
  }
}

void ChatChoice::emit(DeltaKind kind, VisibleTokens::Run run) {
  if (run.text.empty()) return;
  if (kind == DeltaKind::kReasoning) {
    if (options_.reasoning == ReasoningPlace::kNowhere) return;
    if (options_.reasoning == ReasoningPlace::kContent) kind = DeltaKind::kContent;
  } else {
    close_thinking();
  }
  deltas_.push_back({.kind = kind, .text = std::move(run.text), .tokens = std::move(run.tokens)});
}

void ChatChoice::close_thinking() {
  if (!thinking_open_) return;
  thinking_open_ = false;
  deltas_.push_back({.kind = DeltaKind::kContent, .text = std::string(text::marker::kThinkEnd)});
}

void ChatChoice::flush() {
  if (options_.logprobs) emit(shown_, tokens_.flush());
}

}  // namespace hadal::api
