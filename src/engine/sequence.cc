#include "engine/sequence.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace hadal::engine {
namespace {

Status check_token(std::string_view option, std::int64_t token, std::int64_t vocab_size) {
  if (token >= 0 && token < vocab_size) return {};
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("{} names token id {}, which is outside the vocabulary of {}", option, token, vocab_size));
}

Status check_tokens(const GenerationOptions& options, std::int64_t vocab_size) {
  for (const LogitBias& entry : options.sampling.logit_bias) {
    HADAL_TRY(check_token("logit_bias", entry.token, vocab_size));
  }
  for (const std::int64_t token : options.forced) HADAL_TRY(check_token("forced", token, vocab_size));
  if (options.constraint) {
    if (options.stop_tokens.empty()) {
      return fail(ErrorCode::kInvalidArgument, "an answer that is held to a form needs a stop token behind it");
    }
    HADAL_CHECK(options.constraint->vocab_size() == vocab_size, "the constraint knows the model's tokens");
  }
  if (options.reasoning.budget >= 0) {
    HADAL_TRY(check_token("reasoning.end_token", options.reasoning.end_token, vocab_size));
  }
  return {};
}

}  // namespace

SequenceSetting SequenceSetting::of(const model::Executor& executor, const text::Tokenizer* tokenizer) {
  return {.vocab_size = executor.model().config().vocab_size,
          .context = executor.limits().max_tokens,
          .most_drafts = executor.draft_length(),
          .fixed_draft_cost = executor.model().drafter().kind == formats::DrafterKind::kDSpark,
          .tokenizer = tokenizer};
}

Sequence::Sequence(model::SequenceState state, const SequenceSetting& setting)
    : setting_(setting), state_(std::move(state)), history_(setting.vocab_size) {
  tokens_.reserve(static_cast<std::size_t>(setting.context));
  drafts_.reserve(static_cast<std::size_t>(setting.most_drafts));
  feed_.reserve(static_cast<std::size_t>(setting.most_drafts + 1));
}

Status Sequence::append(std::span<const std::int64_t> tokens) {
  const auto end = size() + static_cast<std::int64_t>(tokens.size());
  if (end > setting_.context) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("the prompt has {} tokens with all that went before it, but the context was set to {}; "
                            "shorten it or allow a longer context",
                            end, setting_.context));
  }
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= setting_.vocab_size) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("token id {} at position {} is outside the vocabulary of {}", tokens[i],
                              size() + static_cast<std::int64_t>(i), setting_.vocab_size));
    }
  }
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  return {};
}

void Sequence::reset(model::SequenceState state, std::span<const std::int64_t> tokens) {
  HADAL_CHECK(state.length() <= static_cast<std::int64_t>(tokens.size()), "a state holds tokens that were not given");
  reason_ = FinishReason::kCancelled;
  state_ = std::move(state);
  tokens_.assign(tokens.begin(), tokens.end());
}

Status Sequence::begin(const GenerationOptions& options, TokenSink& sink) {
  HADAL_TRY(check(options.sampling));
  HADAL_TRY(check_tokens(options, setting_.vocab_size));
  if (options.max_tokens < 0) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("max_tokens is {}, but must be 0 or more", options.max_tokens));
  }
  if (!(options.draft_confidence >= 0 && options.draft_confidence <= 1)) {
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("the confidence that drafts need is {}, but must be from 0 to 1", options.draft_confidence));
  }
  if (pending() == 0)
    return fail(ErrorCode::kInvalidArgument, "there is nothing to answer: the prompt has no new tokens");
  HADAL_ASSIGN(AnswerText text, AnswerText::create(setting_.tokenizer, options.stop_strings));
  text_ = std::make_unique<AnswerText>(std::move(text));
  policy_ = std::make_unique<DraftPolicy>(options.drafts, setting_.most_drafts, setting_.fixed_draft_cost);
  options_ = options;
  sink_ = &sink;
  reason_ = FinishReason::kNone;
  status_ = {};
  inside_reasoning_ = options.reasoning.inside;
  constraint_ = options.constraint ? options.constraint->clone() : nullptr;
  prompt_begin_ = state_.length();
  prompt_size_ = size();
  if (options.sampling.penalises()) history_.start(tokens_);
  if (options.sampling.logprobs >= 0) logprobs_.reserve(static_cast<std::size_t>(options.sampling.logprobs + 1));
  statistics_ = {};
  statistics_.rounds_by_accepted.assign(static_cast<std::size_t>(setting_.most_drafts + 1), 0);
  statistics_.rounds_by_drafted = statistics_.rounds_by_accepted;
  drafts_.clear();
  drafted_ = false;
  return {};
}

Status Sequence::finish(FinishReason reason) {
  reason_ = reason;
  if (reason == FinishReason::kStopString) return {};
  text_->finish();
  return text_->piece().empty() ? Status{} : sink_->tail(text_->piece());
}

std::int64_t Sequence::drafts_wanted() const {
  if (finished() || pending() != 1 || size() == prompt_size_) return 0;
  // The last token that an answer may have needs no draft, since it comes with the row before it.
  std::int64_t wanted = std::min(options_.max_tokens - statistics_.answer_tokens - 1, setting_.context - size() - 1);
  if (break_ > state_.length()) wanted = std::min(wanted, break_ - size());
  return std::min(policy_->length(), wanted);
}

Result<std::int64_t> Sequence::add_draft(Sampler& sampler, std::span<const float> logits) {
  const auto index = static_cast<std::int64_t>(drafts_.size());
  HADAL_ASSIGN(const std::int64_t draft, sampler.choose(logits, options_.sampling, history_, size() + index,
                                                        {.banned = banned(statistics_.answer_tokens + index)}));
  drafts_.push_back(draft);
  if (options_.sampling.penalises()) history_.add(draft);
  return draft;
}

void Sequence::end_drafts() {
  drafted_ = true;
  if (!options_.sampling.penalises()) return;
  for (const std::int64_t draft : drafts_) history_.remove(draft);
}

std::span<const std::int64_t> Sequence::plan(std::int64_t most) {
  const std::int64_t start = state_.length();
  prefilling_ = start < prompt_size_;
  verified_ = static_cast<std::int64_t>(drafts_.size());
  prompt_rows_ = 0;
  if (verified_ > 0) {
    feed_.assign({tokens_.back()});
    feed_.insert(feed_.end(), drafts_.begin(), drafts_.end());
    planned_ = logits_rows_ = verified_ + 1;
    return feed_;
  }
  planned_ = std::min(pending(), most);
  if (break_ > start) planned_ = std::min(planned_, break_ - start);
  logits_rows_ = planned_ == pending() && options_.max_tokens > 0 ? 1 : 0;
  if (reads_prompt()) {
    logits_rows_ = planned_;
    prompt_rows_ = std::min(planned_, prompt_size_ - 1 - start);
  }
  return std::span(tokens_).subspan(static_cast<std::size_t>(start), static_cast<std::size_t>(planned_));
}

std::span<const std::int64_t> Sequence::banned(std::int64_t answer_tokens) const {
  return answer_tokens < options_.min_tokens ? std::span<const std::int64_t>(options_.stop_tokens)
                                             : std::span<const std::int64_t>();
}

Result<std::int64_t> Sequence::choose(Sampler& sampler, std::span<const float> logits) {
  const auto index = static_cast<std::size_t>(statistics_.answer_tokens);
  if (index < options_.forced.size()) return options_.forced[index];
  const ReasoningOptions& reasoning = options_.reasoning;
  if (inside_reasoning_ && reasoning.budget >= 0 && statistics_.reasoning_tokens >= reasoning.budget) {
    return reasoning.end_token;
  }
  ChoiceLimits limits{.banned = banned(statistics_.answer_tokens)};
  if (constraint_ && !inside_reasoning_) {
    if (constraint_->complete()) return options_.stop_tokens.front();
    constraint_->limit(limits);
  }
  return sampler.choose(logits, options_.sampling, history_, size(), limits);
}

void Sequence::count(std::int64_t token) {
  ++statistics_.answer_tokens;
  if (constraint_ && !inside_reasoning_ && !constraint_->push(token)) constraint_.reset();  // forced, or a stop token
  if (inside_reasoning_) ++statistics_.reasoning_tokens;
  if (token == options_.reasoning.end_token) inside_reasoning_ = false;
  if (options_.sampling.penalises()) history_.add(token);
}

Status Sequence::emit(Sampler& sampler, std::span<const float> logits, std::int64_t token) {
  const std::int64_t position = size();
  tokens_.push_back(token);
  count(token);
  logprobs_.clear();
  if (options_.sampling.logprobs >= 0) {
    HADAL_TRY(sampler.logprobs(logits, token, options_.sampling.logprobs, logprobs_));
  }
  const auto& stops = options_.stop_tokens;
  if (std::find(stops.begin(), stops.end(), token) != stops.end()) {
    HADAL_TRY(sink_->token({.token = token, .position = position, .logprobs = logprobs_, .ends = true}));
    return finish(FinishReason::kStopToken);
  }
  HADAL_ASSIGN(const bool stopped, text_->push(token));
  HADAL_ASSIGN(const bool ended,
               sink_->token({.token = token, .position = position, .text = text_->piece(), .logprobs = logprobs_}));
  if (stopped || ended) return finish(FinishReason::kStopString);
  if (statistics_.answer_tokens == options_.max_tokens) return finish(FinishReason::kMaxTokens);
  if (size() >= setting_.context) return finish(FinishReason::kContextFull);
  return {};
}

std::int64_t Sequence::absorb(Sampler& sampler, std::span<const float> logits) {
  accepted_ = 0;
  status_ = absorb_rows(sampler, logits);
  if (!status_) {
    reason_ = FinishReason::kError;
    return 0;
  }
  return planned_ - verified_ + accepted_;
}

Status Sequence::absorb_prompt(Sampler& sampler, std::span<const float> logits) {
  const auto vocab = static_cast<std::size_t>(setting_.vocab_size);
  for (std::int64_t row = 0; row < prompt_rows_; ++row) {
    const std::int64_t next = tokens_[static_cast<std::size_t>(state_.length() + row + 1)];
    HADAL_TRY(sampler.logprobs(logits.subspan(static_cast<std::size_t>(row) * vocab, vocab), next,
                               std::max<std::int64_t>(options_.sampling.logprobs, 0), logprobs_));
    HADAL_TRY(sink_->prompt_token(logprobs_));
  }
  return {};
}

Status Sequence::absorb_rows(Sampler& sampler, std::span<const float> logits) {
  const std::int64_t fed = state_.length() + planned_;
  if (prefilling_) {
    statistics_.prompt_tokens = fed - prompt_begin_;
    HADAL_TRY(absorb_prompt(sampler, logits));
    HADAL_TRY(sink_->prefilled(statistics_.prompt_tokens, prompt_size_ - prompt_begin_));
    if (fed == prompt_size_ && options_.max_tokens == 0) HADAL_TRY(finish(FinishReason::kMaxTokens));
    if (finished()) return {};
  }
  const auto vocab = static_cast<std::size_t>(setting_.vocab_size);
  logits = logits.subspan(static_cast<std::size_t>(prompt_rows_) * vocab);
  for (std::int64_t row = 0; row < logits_rows_ - prompt_rows_; ++row) {
    const auto values = logits.subspan(static_cast<std::size_t>(row) * vocab, vocab);
    // Row by row, since the penalties of a row count the tokens accepted before it.
    HADAL_ASSIGN(const std::int64_t choice, choose(sampler, values));
    HADAL_TRY(emit(sampler, values, choice));
    if (finished() || row == verified_ || choice != drafts_[static_cast<std::size_t>(row)]) break;
    ++accepted_;
  }
  return {};
}

void Sequence::note(double draft_seconds, double step_seconds) {
  const bool drafted = std::exchange(drafted_, false);
  drafts_.clear();
  if (prefilling_) {
    statistics_.prefill_seconds += step_seconds;
    return;
  }
  statistics_.decode_seconds += draft_seconds + step_seconds;
  if (!drafted) {
    ++statistics_.plain_steps;
    policy_->observe_plain(step_seconds);
    return;
  }
  ++statistics_.rounds;
  statistics_.drafted += verified_;
  statistics_.accepted += accepted_;
  ++statistics_.rounds_by_accepted[static_cast<std::size_t>(accepted_)];
  ++statistics_.rounds_by_drafted[static_cast<std::size_t>(verified_)];
  // A round that the end of the answer cut short says nothing about its drafts.
  if (!finished()) policy_->observe_round(draft_seconds, step_seconds, verified_, accepted_);
}

}  // namespace hadal::engine
