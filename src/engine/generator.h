#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <stop_token>
#include <vector>

#include "base/result.h"
#include "engine/sampler.h"
#include "engine/sequence.h"
#include "model/executor.h"

namespace hadal::engine {

struct GeneratorOptions {
  std::int64_t chunk = 512;  // most tokens of a prompt in one step
  /// Sees the drafts of a sequence before they are verified and may change them; the tokens that leave stay the same.
  /// For scripted drafters and for tests.
  std::function<void(const Sequence&, std::span<std::int64_t> drafts)> edit_drafts{};
};

/// Takes sequences through the executor: one step feeds what each of them has next, a piece of its prompt or its last
/// token with drafts. A sequence gets the same bits whatever else is in the step. No allocation per step once the
/// buffers have grown. One thread at a time.
class Generator {
 public:
  /// The executor must outlive it and serve no one else between two calls.
  Generator(model::Executor& executor, GeneratorOptions options);

  /// One step for all sequences that are not finished and fit into the executor's limits: answers first, then prompts
  /// in the order given. Errors: of the executor and the drafter; nothing is committed then. What goes wrong with one
  /// answer ends that one only: Sequence::status().
  [[nodiscard]] Status step(std::span<Sequence* const> sequences);
  /// What the last step fed, drafts to check included.
  [[nodiscard]] std::int64_t step_tokens() const { return executor_.limits().max_rows - free_rows_; }
  [[nodiscard]] std::int64_t step_sequences() const { return static_cast<std::int64_t>(members_.size()); }

  /// Steps until every sequence is finished; a request to stop ends the answers with kCancelled before the next step.
  /// Errors: of a step, else of the first sequence that failed.
  [[nodiscard]] Status run(std::span<Sequence* const> sequences, std::stop_token stop = {});

  [[nodiscard]] model::Executor& executor() { return executor_; }

 private:
  [[nodiscard]] Status draft(std::span<Sequence* const> sequences);
  void plan(std::span<Sequence* const> sequences);
  void add_to_step(Sequence& sequence, std::int64_t most);
  [[nodiscard]] Status read_logits(const TensorView& view, std::int64_t rows);

  model::Executor& executor_;
  GeneratorOptions options_;
  Sampler sampler_;
  std::size_t vocab_;
  std::vector<float> logits_;

  // The round of drafts.
  std::vector<Sequence*> drafting_;
  std::vector<const model::SequenceState*> draft_states_;
  std::vector<std::int64_t> previous_;
  std::vector<std::int64_t> kept_;  // drafts to verify; -1: undecided
  std::vector<float> confidence_;

  // The step.
  std::vector<Sequence*> members_;
  std::vector<model::StepSequence> rows_;
  std::vector<std::int32_t> logits_rows_;
  std::vector<std::int64_t> accepted_;
  std::int64_t free_rows_ = 0;
  std::int64_t free_logits_rows_ = 0;
};

}  // namespace hadal::engine
