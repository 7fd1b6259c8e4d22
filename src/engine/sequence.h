#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "engine/answer_text.h"
#include "engine/draft_policy.h"
#include "engine/generation.h"
#include "engine/sampler.h"
#include "engine/token_history.h"
#include "engine/token_sink.h"
#include "model/executor.h"

namespace hadal::engine {

/// What sequences of one executor have in common.
struct SequenceSetting {
  std::int64_t vocab_size = 0;
  std::int64_t context = 0;      // tokens that a sequence may have
  std::int64_t most_drafts = 0;  // of a round
  bool fixed_draft_cost = false;
  const text::Tokenizer* tokenizer = nullptr;  // null: no text

  [[nodiscard]] static SequenceSetting of(const model::Executor& executor, const text::Tokenizer* tokenizer);
};

/// One sequence of tokens with the model's state of its committed part, and the answer under way. Knows no executor:
/// a Generator asks it what to feed next and hands it the logits. The last token of an answer is chosen but not fed, so
/// that an answer leaves the same state whether or not it was drafted.
class Sequence {
 public:
  Sequence(model::SequenceState state, const SequenceSetting& setting);

  /// All tokens; the first state().length() of them are committed.
  [[nodiscard]] std::span<const std::int64_t> tokens() const { return tokens_; }
  [[nodiscard]] const model::SequenceState& state() const { return state_; }
  [[nodiscard]] model::SequenceState& state() { return state_; }
  [[nodiscard]] std::int64_t pending() const { return size() - state_.length(); }

  /// Adds tokens to the prompt. Errors: kInvalidArgument (an id outside the vocabulary, more tokens than the context
  /// holds).
  [[nodiscard]] Status append(std::span<const std::int64_t> tokens);
  /// Replaces state and tokens, the first state.length() of which are those of the state.
  void reset(model::SequenceState state, std::span<const std::int64_t> tokens);
  /// Forgets the tokens that are not committed.
  void drop_pending() { tokens_.resize(static_cast<std::size_t>(state_.length())); }
  /// Steps end at this position if they reach it, so that the state can be kept there; -1: none.
  void set_break(std::int64_t position) { break_ = position; }

  /// Begins an answer after all tokens so far. `sink` must outlive it. Errors: kInvalidArgument (wrong options, nothing
  /// to feed).
  [[nodiscard]] Status begin(const GenerationOptions& options, TokenSink& sink);
  [[nodiscard]] bool finished() const { return reason_ != FinishReason::kNone; }
  [[nodiscard]] FinishReason reason() const { return reason_; }
  /// The error of an answer that ended with kError.
  [[nodiscard]] const Status& status() const { return status_; }
  /// Ends the answer now. What is committed stays; the rest of the prompt stays pending. Errors: of the sink.
  [[nodiscard]] Status finish(FinishReason reason);
  [[nodiscard]] const GenerationStatistics& statistics() const { return statistics_; }

  // The protocol of a step, for the Generator: drafts_wanted() > 0: add_draft() for each; plan(); absorb(); note().

  /// Drafts that the next step should have; it does not change while they are chosen.
  [[nodiscard]] std::int64_t drafts_wanted() const;
  /// Chooses draft number drafts().size() from the drafter's logits with the noise of its position.
  [[nodiscard]] Result<std::int64_t> add_draft(Sampler& sampler, std::span<const float> logits);
  [[nodiscard]] std::span<std::int64_t> drafts() { return drafts_; }
  /// Ends the drafting of this round.
  void end_drafts();
  /// Every row of its prompt needs logits.
  [[nodiscard]] bool reads_prompt() const { return options_.prompt_logprobs && state_.length() < prompt_size_; }
  /// Drafts of which the drafter is less sure are not verified.
  [[nodiscard]] double least_confidence() const { return options_.draft_confidence; }

  /// Tokens to feed now, at most `most` (>= 1 + drafts): a piece of the prompt, or the last token and the drafts.
  [[nodiscard]] std::span<const std::int64_t> plan(std::int64_t most);
  /// Of the planned rows the last so many need logits.
  [[nodiscard]] std::int64_t logits_rows() const { return logits_rows_; }
  /// Takes those logits [logits_rows, vocab_size], chooses tokens and sends them to the sink. A draft stands while it
  /// is the token chosen from its row (the coupled rule). Returns the number of rows to commit. An error of the
  /// sampler, the sink or the tokenizer ends this answer (kError, status()) and nobody else's.
  [[nodiscard]] std::int64_t absorb(Sampler& sampler, std::span<const float> logits);
  /// The step is committed: counts it and its time.
  void note(double draft_seconds, double step_seconds);

 private:
  [[nodiscard]] std::int64_t size() const { return static_cast<std::int64_t>(tokens_.size()); }
  [[nodiscard]] Status absorb_rows(Sampler& sampler, std::span<const float> logits);
  [[nodiscard]] Status absorb_prompt(Sampler& sampler, std::span<const float> logits);
  [[nodiscard]] Result<std::int64_t> choose(Sampler& sampler, std::span<const float> logits);
  /// Stop tokens while the answer is too short for them.
  [[nodiscard]] std::span<const std::int64_t> banned(std::int64_t answer_tokens) const;
  void count(std::int64_t token);
  [[nodiscard]] Status emit(Sampler& sampler, std::span<const float> logits, std::int64_t token);

  SequenceSetting setting_;
  model::SequenceState state_;
  std::vector<std::int64_t> tokens_;
  TokenHistory history_;
  std::int64_t break_ = -1;

  // The answer.
  GenerationOptions options_;
  TokenSink* sink_ = nullptr;
  FinishReason reason_ = FinishReason::kCancelled;  // no answer under way
  Status status_{};
  bool inside_reasoning_ = false;
  std::unique_ptr<AnswerConstraint> constraint_;
  std::int64_t prompt_size_ = 0;
  std::int64_t prompt_begin_ = 0;  // committed tokens when the answer began
  std::unique_ptr<AnswerText> text_;
  std::unique_ptr<DraftPolicy> policy_;
  std::vector<TokenLogprob> logprobs_;
  GenerationStatistics statistics_;

  // The step.
  std::vector<std::int64_t> drafts_;
  std::vector<std::int64_t> feed_;
  std::int64_t planned_ = 0;  // rows
  std::int64_t logits_rows_ = 0;
  std::int64_t prompt_rows_ = 0;  // of them, those whose next token is known
  std::int64_t verified_ = 0;     // drafts of the step
  std::int64_t accepted_ = 0;
  bool drafted_ = false;  // the drafter ran
  bool prefilling_ = false;
};

}  // namespace hadal::engine
