#include "api/completion_answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "text/json_text.h"
#include "text/utf8.h"

namespace hadal::api {
namespace {

void append_logprob_or_null(std::string& out, const TokenProbability& token) {
  if (token.logprob) {
    append_logprob(out, *token.logprob);
  } else {
    out += "null";
  }
}

/// {"text": logprob} of the alternatives, the chosen token included.
void append_alternatives(std::string& out, const TokenLogprob& token) {
  if (!token.logprob) {
    out += "null";
    return;
  }
  out += '{';
  std::set<std::string> seen;
  const auto add = [&](const TokenProbability& alternative) {
    std::string name = text::replace_ill_formed(alternative.bytes);
    if (!seen.insert(name).second) return;
    if (seen.size() > 1) out += ',';
    text::append_json_string(out, name);
    out += ':';
    append_logprob_or_null(out, alternative);
  };
  for (const TokenProbability& alternative : token.top) add(alternative);
  add(token);
  out += '}';
}

template <class Append>
void append_list(std::string& out, std::string_view name, std::size_t size, const Append& append) {
  text::append_json_string(out, name);
  out += ":[";
  for (std::size_t i = 0; i < size; ++i) {
    if (i > 0) out += ',';
    append(i);
  }
  out += ']';
}

void append_logprobs(std::string& out, const TextDelta& delta) {
  const auto& tokens = delta.tokens;
  out += '{';
  append_list(out, "tokens", tokens.size(),
              [&](std::size_t i) { text::append_json_string(out, text::replace_ill_formed(tokens[i].bytes)); });
  out += ',';
  append_list(out, "token_logprobs", tokens.size(), [&](std::size_t i) { append_logprob_or_null(out, tokens[i]); });
  out += ',';
  append_list(out, "top_logprobs", tokens.size(), [&](std::size_t i) { append_alternatives(out, tokens[i]); });
  out += ',';
  append_list(out, "text_offset", tokens.size(),
              [&](std::size_t i) { fmt::format_to(std::back_inserter(out), "{}", delta.offsets[i]); });
  out += '}';
}

/// {"text","index","logprobs","finish_reason"}; an empty `reason` is null.
void append_choice(std::string& out, std::int64_t index, const TextDelta& delta, bool logprobs,
                   std::string_view reason) {
  out += R"({"text":)";
  text::append_json_string(out, delta.text);
  fmt::format_to(std::back_inserter(out), R"(,"index":{},"logprobs":)", index);
  if (logprobs) {
    append_logprobs(out, delta);
  } else {
    out += "null";
  }
  out += R"(,"finish_reason":)";
  if (reason.empty()) {
    out += "null";
  } else {
    text::append_json_string(out, reason);
  }
  out += '}';
}

/// Members behind the choices.
void append_tail(std::string& out, const AnswerHead& head) {
  fmt::format_to(std::back_inserter(out), R"(,"created":{},"model":)", head.created);
  text::append_json_string(out, head.model);
  out += R"(,"system_fingerprint":)";
  text::append_json_string(out, head.fingerprint);
  out += R"(,"object":"text_completion")";
}

void append_head(std::string& out, const AnswerHead& head) {
  out += R"({"id":)";
  text::append_json_string(out, head.id);
  out += R"(,"choices":[)";
}

}  // namespace

TextChoice::TextChoice(const CompletionRequest& request, std::string_view prompt)
    : family_(request.family),
      logprobs_(request.logprobs.on),
      show_stop_(request.stop.include_in_output),
      show_special_(!request.skip_special_tokens),
      stops_(request.stop.strings),
      characters_(text::count_characters(prompt)) {}

Echo echo_of(const text::Tokenizer& tokenizer, std::span<const std::int32_t> ids, std::vector<TokenLogprob> tokens) {
  Echo out;
  PieceReader reader(tokenizer);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const Piece piece = reader.read(ids[i]);
    out.text += piece.text;
    if (!piece.special.empty()) continue;
    out.pieces.emplace_back(piece.text);
    if (!tokens.empty()) out.tokens.push_back(std::move(tokens[i]));
  }
  out.text += reader.finish();
  if (!out.tokens.empty()) {
    out.tokens[0].logprob.reset();
    out.tokens[0].top.clear();
  }
  return out;
}

TextDelta TextChoice::echo(Echo prompt) {
  TextDelta delta{.text = std::move(prompt.text)};
  if (!logprobs_) return delta;
  delta.tokens = std::move(prompt.tokens);
  std::int64_t offset = 0;
  for (const std::string& piece : prompt.pieces) {
    delta.offsets.push_back(offset);
    offset += text::count_characters(piece);
  }
  return delta;
}

TextDelta TextChoice::push(const Piece& piece, const TokenLogprob& token) {
  if (ended_) return {};
  if (logprobs_) tokens_.push(piece, show_special_, token);
  if (!show_special_ || piece.special.empty()) return take(piece.text);
  return take(fmt::format("{}{}", piece.text, piece.special));
}

TextDelta TextChoice::take(std::string_view piece) {
  std::string certain;
  ended_ = stops_.push(piece, certain);
  if (ended_ && show_stop_) certain += stops_.match();
  return made(logprobs_ ? tokens_.show(certain) : VisibleTokens::Run{.text = std::move(certain)});
}

TextDelta TextChoice::made(VisibleTokens::Run run) {
  TextDelta delta{.text = std::move(run.text), .tokens = std::move(run.tokens)};
  delta.offsets = std::move(run.offsets);
  for (std::int64_t& offset : delta.offsets) offset += characters_;
  characters_ += text::count_characters(delta.text);
  return delta;
}

TextDelta TextChoice::finish(Ending ending, std::string_view tail) {
  TextDelta delta;
  const auto append = [&delta](TextDelta more) {
    delta.text += more.text;
    std::ranges::move(more.tokens, std::back_inserter(delta.tokens));
    std::ranges::copy(more.offsets, std::back_inserter(delta.offsets));
  };
  const bool before = ended_;
  if (!ended_) {
    if (logprobs_) tokens_.extend(tail);
    append(take(tail));
  }
  if (!ended_) {
    std::string held;
    stops_.finish(held);
    append(made(logprobs_ ? tokens_.show(held) : VisibleTokens::Run{.text = std::move(held)}));
  }
  if (logprobs_) append(made(tokens_.flush()));
  reason_ = finish_reason(family_, before || ended_ ? Ending::kStopString : ending, false);
  ended_ = true;
  return delta;
}

TextForm text_form(const CompletionRequest& request, AnswerHead head) {
  return {.head = std::move(head),
          .choices = request.choices * std::ssize(request.prompts),
          .logprobs = request.logprobs.on,
          .include_usage = request.stream.include_usage};
}

void TextStream::chunk(std::int64_t choice, const TextDelta& delta, std::string_view reason, std::string_view usage,
                       std::string& out) const {
  out += "data: ";
  append_head(out, form_.head);
  append_choice(out, choice, delta, form_.logprobs && !delta.tokens.empty(), reason);
  out += ']';
  append_tail(out, form_.head);
  if (!usage.empty()) {
    out += R"(,"usage":)";
    out += usage;
  } else if (form_.include_usage) {
    out += R"(,"usage":null)";
  }
  out += "}\n\n";
}

void TextStream::add(std::int64_t choice, const TextDelta& delta, std::string& out) const {
  if (!delta.text.empty() || !delta.tokens.empty()) chunk(choice, delta, "", "", out);
}

void TextStream::finish(std::int64_t choice, std::string_view reason, const Usage& usage, std::string& out) {
  const bool last = ++finished_ == form_.choices;
  const bool apart = form_.head.family == Family::kOpenAi && form_.include_usage;
  std::string figures;
  if (last) append_usage(figures, usage);
  chunk(choice, {}, reason, apart ? "" : figures, out);
  if (!last) return;
  if (apart) {
    out += "data: ";
    append_head(out, form_.head);
    out += ']';
    append_tail(out, form_.head);
    fmt::format_to(std::back_inserter(out), R"(,"usage":{}}})", figures);
    out += "\n\n";
  }
  out += kDone;
}

void TextBody::add(std::int64_t choice, const TextDelta& delta) {
  TextDelta& all = choices_[static_cast<std::size_t>(choice)].all;
  all.text += delta.text;
  all.tokens.insert(all.tokens.end(), delta.tokens.begin(), delta.tokens.end());
  all.offsets.insert(all.offsets.end(), delta.offsets.begin(), delta.offsets.end());
}

void TextBody::finish(std::int64_t choice, std::string_view reason) {
  choices_[static_cast<std::size_t>(choice)].reason = reason;
}

std::string TextBody::text(const Usage& usage) const {
  std::string out;
  append_head(out, form_.head);
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    if (i > 0) out += ',';
    append_choice(out, static_cast<std::int64_t>(i), choices_[i].all, form_.logprobs, choices_[i].reason);
  }
  out += ']';
  append_tail(out, form_.head);
  out += R"(,"usage":)";
  append_usage(out, usage);
  return out + "}";
}

}  // namespace hadal::api
