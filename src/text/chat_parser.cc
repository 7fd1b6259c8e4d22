#include "text/chat_parser.h"

#include <algorithm>
#include <iterator>
#include <limits>

#include "text/chat_markers.h"
#include "text/json_text.h"

namespace hadal::text {

using markup::Match;

namespace {

/// Whether a byte stands for a marker token. (Optimised by clang 19, find_first_of of a
/// constant text misses bytes above 7F.)
bool is_stand_in(char c) { return static_cast<unsigned char>(c) >= static_cast<unsigned char>(markup::kThinkToken[0]); }

/// Stand-in of a marker token; "" for others.
std::string_view stand_in(std::string_view token) {
  if (token == marker::kDsml) return markup::kDsmlToken;
  if (token == marker::kThinkEnd) return markup::kThinkEndToken;
  if (token == marker::kThink) return markup::kThinkToken;
  return {};
}

}  // namespace

std::string_view name(ChatWarning warning) {
  switch (warning) {
    case ChatWarning::kLeadingThink:
      return "leading_think";
    case ChatWarning::kImplicitThinkEnd:
      return "implicit_think_end";
    case ChatWarning::kExtraThinkEnd:
      return "extra_think_end";
    case ChatWarning::kUnclosedThink:
      return "unclosed_think";
    case ChatWarning::kMissingBlockOpen:
      return "missing_block_open";
    case ChatWarning::kDuplicateParameter:
      return "duplicate_parameter";
    case ChatWarning::kMissingStringAttribute:
      return "missing_string_attribute";
    case ChatWarning::kInvalidJsonValue:
      return "invalid_json_value";
    case ChatWarning::kMissingParameterEnd:
      return "missing_parameter_end";
    case ChatWarning::kAutoClosedCall:
      return "auto_closed_call";
    case ChatWarning::kJunkInBlock:
      return "junk_in_block";
    case ChatWarning::kTextAfterCalls:
      return "text_after_calls";
    case ChatWarning::kTruncatedCall:
      return "truncated_call";
    case ChatWarning::kStrayMarker:
      return "stray_marker";
  }
  return "unknown";
}

ChatParser::ChatParser(ParserOptions options)
    : options_(options),
      rules_{.lenient = options.lenient_dsml, .tokens = options.marker_tokens, .max_bytes = kMaxTagBytes},
      state_(options.thinking ? State::kReasoning : State::kContent) {}

std::span<const ChatEvent> ChatParser::push(std::string_view piece, std::string_view token) {
  begin_events();
  if (held_.empty() && token.empty()) {
    while (!piece.empty() && step(piece)) {
    }
    held_.assign(piece);
  } else {
    held_ += piece;
    held_ += stand_in(token);
    std::string_view rest = held_;
    while (!rest.empty() && step(rest)) {
    }
    held_.erase(0, held_.size() - rest.size());
  }
  return events();
}

std::span<const ChatEvent> ChatParser::finish(StopReason reason) {
  begin_events();
  const bool stopped = reason == StopReason::kStop;
  switch (state_) {
    case State::kReasoning:
    case State::kContent:
      flush_newlines();
      emit(state_ == State::kReasoning ? ChatEventKind::kReasoning : ChatEventKind::kContent, shown(held_));
      if (state_ == State::kReasoning && stopped) warn(ChatWarning::kUnclosedThink);
      break;
    case State::kName:
      warn(ChatWarning::kTruncatedCall);
      break;
    case State::kInvoke:
    case State::kValue:
      if (!stopped) {
        warn(ChatWarning::kTruncatedCall);
        break;
      }
      if (state_ == State::kValue) {
        if (!markup::has_closing_marker(held_, rules_)) add_value(held_);
        if (state_ != State::kValue) break;  // the value passed its limit
        end_value();
      }
      close_call_early();
      break;
    case State::kBlock:
    case State::kDone:
      break;
  }
  held_.clear();
  message_.finish_reason = !stopped                      ? FinishReason::kLength
                           : message_.tool_calls.empty() ? FinishReason::kStop
                                                         : FinishReason::kToolCalls;
  return events();
}

bool ChatParser::step(std::string_view& rest) {
  switch (state_) {
    case State::kReasoning:
    case State::kContent:
      return step_text(rest);
    case State::kName:
      return step_name(rest);
    case State::kInvoke:
    case State::kBlock:
      return step_tags(rest);
    case State::kValue:
      return step_value(rest);
    case State::kDone:
      return step_done(rest);
  }
  return false;
}

bool ChatParser::step_text(std::string_view& rest) {
  const bool tokens = options_.marker_tokens;
  const auto end = std::ranges::find_if(rest, [tokens](char c) { return c == '<' || (tokens && is_stand_in(c)); });
  const auto plain = static_cast<std::size_t>(end - rest.begin());
  if (plain > 0) {
    add_text(rest.substr(0, plain));
    rest.remove_prefix(plain);
    at_origin_ = false;
    return true;
  }
  const Match match = text_marker(rest);
  if (match == Match::kWaits) return false;
  if (match == Match::kNo) {
    add_text(rest.substr(0, 1));
    rest.remove_prefix(1);
  }
  at_origin_ = false;
  return true;
}

Match ChatParser::text_marker(std::string_view& rest) {
  const bool reasoning = state_ == State::kReasoning;
  Match best = Match::kNo;
  if (at_origin_) {
    const markup::Tag think = markup::literal(rest, options_.marker_tokens ? markup::kThinkToken : marker::kThink);
    if (think.match == Match::kYes) {
      warn(ChatWarning::kLeadingThink);
      state_ = State::kReasoning;
      rest.remove_prefix(think.size);
      return Match::kYes;
    }
    best = std::max(best, think.match);
  }
  const markup::Tag end = markup::literal(rest, options_.marker_tokens ? markup::kThinkEndToken : marker::kThinkEnd);
  if (end.match == Match::kYes) {
    if (options_.trim_newlines) newlines_ = 0;
    flush_newlines();
    if (reasoning) {
      state_ = State::kContent;
      at_text_start_ = true;
    } else {
      warn(ChatWarning::kExtraThinkEnd);
    }
    rest.remove_prefix(end.size);
    return Match::kYes;
  }
  best = std::max(best, end.match);
  if (!options_.tools) return best;

  const markup::BlockOpening block = markup::block_opening(rest, rules_);
  if (block.match != Match::kYes) return std::max(best, block.match);
  newlines_ = 0;  // the separator before a block belongs to neither text
  if (reasoning) warn(ChatWarning::kImplicitThinkEnd);
  if (block.bare) warn(ChatWarning::kMissingBlockOpen);
  state_ = block.empty ? State::kDone : State::kName;
  rest.remove_prefix(block.size);
  return Match::kYes;
}

std::string_view ChatParser::shown(std::string_view text) {
  if (!options_.marker_tokens || std::ranges::none_of(text, is_stand_in)) return text;
  warn(ChatWarning::kStrayMarker);
  shown_.clear();
  std::ranges::remove_copy_if(text, std::back_inserter(shown_), is_stand_in);
  return shown_;
}

void ChatParser::add_text(std::string_view text) {
  text = shown(text);
  if (text.empty()) flush_newlines();  // they precede a dropped marker, not a block
  if (options_.trim_newlines && at_text_start_) {
    text.remove_prefix(std::min(text.find_first_not_of('\n'), text.size()));
    if (text.empty()) return;
  }
  const std::size_t body = text.find_last_not_of('\n') + 1;
  if (body > 0) {
    flush_newlines();
    emit(state_ == State::kReasoning ? ChatEventKind::kReasoning : ChatEventKind::kContent, text.substr(0, body));
    at_text_start_ = false;
  }
  add_newlines(text.size() - body);
}

void ChatParser::add_newlines(std::size_t count) {
  std::size_t limit = options_.tools ? 2 : 0;
  if (options_.trim_newlines) limit = std::numeric_limits<std::size_t>::max();
  newlines_ += count;
  if (newlines_ <= limit) return;
  const std::size_t excess = newlines_ - limit;
  newlines_ = excess;
  flush_newlines();
  newlines_ = limit;
}

void ChatParser::flush_newlines() {
  const std::size_t begin = event_text_.size();
  event_text_.append(newlines_, '\n');
  newlines_ = 0;
  publish(state_ == State::kReasoning ? ChatEventKind::kReasoning : ChatEventKind::kContent, begin);
}

bool ChatParser::step_name(std::string_view& rest) {
  const std::size_t quote = rest.find('"');
  const std::size_t end = quote == std::string_view::npos ? quote : rest.find('>', quote);
  if (end < kMaxTagBytes) {
    begin_call(rest.substr(0, quote));
    rest.remove_prefix(end + 1);
    state_ = State::kInvoke;
    return true;
  }
  if (rest.size() < kMaxTagBytes) return false;
  warn_junk();
  state_ = State::kBlock;
  return true;
}

bool ChatParser::step_tags(std::string_view& rest) {
  const markup::Tag space = markup::white_space(rest);
  if (space.match == Match::kWaits) return false;
  if (space.match == Match::kYes) {
    rest.remove_prefix(space.size);
    return true;
  }
  const Match match = rest.front() != '<' ? Match::kNo : state_ == State::kInvoke ? invoke_tag(rest) : block_tag(rest);
  if (match == Match::kWaits) return false;
  if (match == Match::kNo) {
    warn_junk();
    rest.remove_prefix(std::min(rest.find('<', 1), rest.size()));
  }
  return true;
}

Match ChatParser::invoke_tag(std::string_view& rest) {
  const markup::ParameterTag parameter = markup::parameter(rest, rules_);
  if (parameter.match == Match::kYes) {
    begin_parameter(parameter.key, !parameter.has_kind   ? ValueKind::kUnmarked
                                   : parameter.is_string ? ValueKind::kString
                                                         : ValueKind::kJson);
    rest.remove_prefix(parameter.size);
    state_ = State::kValue;
    return Match::kYes;
  }
  const markup::Tag end = markup::closing(rest, "invoke", rules_);
  if (end.match == Match::kYes) {
    close_call();
    rest.remove_prefix(end.size);
    state_ = State::kBlock;
    return Match::kYes;
  }
  // What ends the block or begins the next call closes this one; BLOCK then sees it.
  const Match others = std::max(markup::invoke(rest, rules_).match, markup::closing(rest, "tool_calls", rules_).match);
  if (others == Match::kYes) {
    close_call_early();
    state_ = State::kBlock;
    return Match::kYes;
  }
  return std::max({parameter.match, end.match, others});
}

Match ChatParser::block_tag(std::string_view& rest) {
  const markup::Tag end = markup::closing(rest, "tool_calls", rules_);
  if (end.match == Match::kYes) {
    rest.remove_prefix(end.size);
    state_ = State::kDone;
    return Match::kYes;
  }
  if (std::ssize(message_.tool_calls) >= kMaxCalls) return end.match;
  const markup::Tag invoke = markup::invoke(rest, rules_);
  if (invoke.match == Match::kYes) {
    rest.remove_prefix(invoke.size);
    state_ = State::kName;
  }
  return std::max(end.match, invoke.match);
}

bool ChatParser::step_value(std::string_view& rest) {
  const std::size_t plain = std::min(rest.find('<'), rest.size());
  if (plain > 0) {
    add_value(rest.substr(0, plain));
    rest.remove_prefix(plain);
    return true;
  }
  const markup::Tag end = markup::closing(rest, "parameter", rules_);
  if (end.match == Match::kYes) {
    end_value();
    rest.remove_prefix(end.size);
    state_ = State::kInvoke;
    return true;
  }
  const Match others =
      std::max(markup::closing(rest, "invoke", rules_).match, markup::closing(rest, "tool_calls", rules_).match);
  if (others == Match::kYes) {
    warn(ChatWarning::kMissingParameterEnd);
    end_value();
    state_ = State::kInvoke;
    return true;
  }
  if (std::max(end.match, others) == Match::kWaits) return false;
  add_value("<");
  rest.remove_prefix(1);
  return true;
}

bool ChatParser::step_done(std::string_view& rest) {
  if (!after_calls_warned_) {
    const markup::Tag space = markup::white_space(rest);
    if (space.match == Match::kWaits) return false;
    if (space.match == Match::kYes) {
      rest.remove_prefix(space.size);
      return true;
    }
    warn(ChatWarning::kTextAfterCalls);
    after_calls_warned_ = true;
  }
  rest = {};
  return true;
}

void ChatParser::begin_call(std::string_view call_name) {
  call_name = shown(call_name);
  message_.tool_calls.push_back({.name = std::string(call_name)});
  has_parameter_ = false;
  keys_.clear();
  emit(ChatEventKind::kCallBegin, call_name);
}

void ChatParser::begin_parameter(std::string_view key, ValueKind kind) {
  key = shown(key);
  value_kind_ = kind;
  value_.clear();
  ignore_value_ = !keys_.emplace(key).second;
  if (ignore_value_) {
    warn(ChatWarning::kDuplicateParameter);
    return;
  }
  if (kind == ValueKind::kUnmarked) warn(ChatWarning::kMissingStringAttribute);
  const std::size_t begin = event_text_.size();
  event_text_ += has_parameter_ ? ", " : "{";
  append_json_string(event_text_, key);
  event_text_ += kind == ValueKind::kString ? ": \"" : ": ";
  publish(ChatEventKind::kArguments, begin);
  has_parameter_ = true;
}

void ChatParser::add_value(std::string_view text) {
  if (ignore_value_) return;
  text = shown(text);
  if (value_kind_ == ValueKind::kString) {
    const std::size_t begin = event_text_.size();
    append_json_escaped(event_text_, text);
    publish(ChatEventKind::kArguments, begin);
  } else if (text.size() > kMaxJsonValueBytes - value_.size()) {
    abandon_call();
  } else {
    value_ += text;
  }
}

void ChatParser::end_value() {
  if (ignore_value_) return;
  if (value_kind_ == ValueKind::kString) {
    emit_arguments("\"");
  } else if (is_json(value_, JsonLimits{}.depth - 1)) {  // one level less: the arguments' object is around it
    emit_arguments(value_);
  } else {
    if (value_kind_ == ValueKind::kJson) warn(ChatWarning::kInvalidJsonValue);
    const std::size_t begin = event_text_.size();
    append_json_string(event_text_, value_);
    publish(ChatEventKind::kArguments, begin);
  }
}

void ChatParser::close_call() {
  emit_arguments(has_parameter_ ? "}" : "{}");
  emit(ChatEventKind::kCallEnd, {});
  message_.tool_calls.back().complete = true;
}

void ChatParser::close_call_early() {
  warn(ChatWarning::kAutoClosedCall);
  close_call();
}

void ChatParser::abandon_call() {
  warn(ChatWarning::kTruncatedCall);
  value_.clear();
  after_calls_warned_ = true;  // all that follows is the rest of this call
  state_ = State::kDone;
}

void ChatParser::warn_junk() {
  if (message_.warnings.empty() || message_.warnings.back() != ChatWarning::kJunkInBlock) {
    warn(ChatWarning::kJunkInBlock);
  }
}

void ChatParser::begin_events() {
  event_text_.clear();
  pieces_.clear();
}

void ChatParser::emit(ChatEventKind kind, std::string_view text) {
  const std::size_t begin = event_text_.size();
  event_text_ += text;
  publish(kind, begin);
}

void ChatParser::publish(ChatEventKind kind, std::size_t begin) {
  const std::string_view added = std::string_view(event_text_).substr(begin);
  const bool border = kind == ChatEventKind::kCallBegin || kind == ChatEventKind::kCallEnd;
  if (added.empty() && !border) return;
  switch (kind) {
    case ChatEventKind::kReasoning:
      message_.reasoning_content += added;
      break;
    case ChatEventKind::kContent:
      message_.content += added;
      break;
    case ChatEventKind::kArguments:
      message_.tool_calls.back().arguments += added;
      break;
    case ChatEventKind::kCallBegin:
    case ChatEventKind::kCallEnd:
      break;
  }
  if (!border && !pieces_.empty() && pieces_.back().kind == kind) {
    pieces_.back().end = event_text_.size();
    return;
  }
  const bool text = kind == ChatEventKind::kReasoning || kind == ChatEventKind::kContent;
  const int call = text ? -1 : static_cast<int>(message_.tool_calls.size()) - 1;
  pieces_.push_back({kind, call, begin, event_text_.size()});
}

std::span<const ChatEvent> ChatParser::events() {
  // Views are made at the end because event_text_ moves while it grows.
  events_.clear();
  for (const Piece& piece : pieces_) {
    events_.push_back(
        {piece.kind, piece.call, std::string_view(event_text_).substr(piece.begin, piece.end - piece.begin)});
  }
  return events_;
}

}  // namespace hadal::text
