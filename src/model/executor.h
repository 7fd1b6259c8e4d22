#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "model/attention.h"
#include "model/drafter.h"
#include "model/model.h"
#include "model/state.h"
#include "model/step.h"
#include "ops/step_tables.h"

namespace hadal::model {

/// Runs the model on steps of many sequences: forward computes, commit makes the first rows of each sequence part of
/// its state; rows that are not committed leave no trace. One thread at a time. All memory is taken at creation.
class Executor {
 public:
  struct Limits {
    std::int64_t max_rows = 512;  // tokens of a step, over all sequences
    std::int64_t max_sequences = 1;
    std::int64_t max_logits_rows = 1;
    std::int64_t max_tokens = 4096;  // of one sequence
    std::int64_t max_drafts = 0;     // 0: no drafting, and the drafter's context is not kept
    bool drafter_logits = false;     // plan for StepRequest::drafter_logits
  };

  /// Plans the largest step on the backend and takes the memory for it. Errors: kUnimplemented with the list of all
  /// that the backend lacks, kResourceExhausted, kInvalidArgument.
  [[nodiscard]] static Result<std::unique_ptr<Executor>> create(const Model& model, StatePool& pool,
                                                                const Limits& limits);
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  /// Enqueues one step. What an earlier forward left uncommitted is given up. Errors: kInvalidArgument (a token id
  /// outside the vocabulary, more rows than planned), kResourceExhausted (no free page); the states are unchanged then.
  [[nodiscard]] Status forward(const StepRequest& request);
  /// [R, vocab_size], rows in the order of logits_rows; valid until the next forward or draft.
  [[nodiscard]] const TensorView& logits() const { return logits_; }
  [[nodiscard]] const TensorView& drafter_logits() const { return drafter_logits_; }
  /// Commits the first accepted[s] rows of sequence s of the last forward. Errors: kInvalidArgument.
  [[nodiscard]] Status commit(std::span<const std::int64_t> accepted);

  /// Number of tokens a round can draft: dspark_block_size, or max_drafts for MTP; 0 without a drafter.
  [[nodiscard]] std::int64_t draft_length() const { return drafting() ? limits_.max_drafts : 0; }
  /// A round of drafts: DraftRound. What an earlier forward left uncommitted is given up.
  [[nodiscard]] Status begin_draft(std::span<const SequenceState* const> sequences,
                                   std::span<const std::int64_t> anchors, const ActivationTap* tap = nullptr);
  [[nodiscard]] Status next_draft(std::span<const std::int64_t> previous);
  /// Of the last next_draft.
  [[nodiscard]] const TensorView& draft_logits() const { return drafts_->logits(); }
  [[nodiscard]] const TensorView& draft_confidence() const { return drafts_->confidence(); }

  /// Waits, then copies a contiguous real tensor to the host as float32. Errors: kInvalidArgument (size).
  [[nodiscard]] Status read(const TensorView& view, std::span<float> out);

  [[nodiscard]] ops::Stream& stream() { return *stream_; }
  [[nodiscard]] const Model& model() const { return model_; }
  [[nodiscard]] StatePool& pool() const { return pool_; }
  [[nodiscard]] const Limits& limits() const { return limits_; }
  /// Bytes of activations and operators' scratch.
  [[nodiscard]] std::int64_t memory_bytes() const { return arena_memory_.bytes() + scratch_memory_.bytes(); }

 private:
  Executor(const Model& model, StatePool& pool, const Limits& limits);

  [[nodiscard]] Status plan_and_allocate();
  [[nodiscard]] Status check(const StepRequest& request) const;
  [[nodiscard]] Status enqueue_forward(bool drafter_logits, const ActivationTap* tap);
  [[nodiscard]] Status enqueue_drafter_context(bool drafter_logits, const TensorView& target_hidden,
                                               const ActivationTap* tap);
  [[nodiscard]] Status enqueue_head(Step& step, const HyperConnectionWeights& hc_head, const ops::Weight& norm,
                                    const ops::Weight& head_weight, const TensorView& streams, TensorView& logits);
  [[nodiscard]] Step make_step(const ops::StepTables& tables, const ActivationTap* tap) {
    return model_.step(*stream_, arena_, pool_, tables, tap);
  }
  [[nodiscard]] bool drafting() const {
    return limits_.max_drafts > 0 && model_.drafter().kind != formats::DrafterKind::kNone;
  }
  [[nodiscard]] formats::DrafterKind kind() const {
    return drafting() ? model_.drafter().kind : formats::DrafterKind::kNone;
  }

  const Model& model_;
  StatePool& pool_;
  Limits limits_;
  StateLayout layout_;
  std::unique_ptr<ops::Stream> stream_;
  Buffer arena_memory_;
  Buffer scratch_memory_;
  Buffer tables_memory_;
  Arena arena_;
  std::optional<ops::StepTableBuilder> main_builder_, shifted_builder_;

  // The last forward, until it is committed.
  bool pending_ = false;
  ops::StepTables tables_;          // of the main layers
  ops::StepTables shifted_tables_;  // of MTP: one position earlier
  std::vector<StepSequence> sequences_;
  std::vector<ops::RowRange> ranges_;
  std::vector<std::int64_t> tokens_;
  std::vector<LayerRows> rows_;
  std::vector<LayerRows> drafter_rows_;
  TensorView streams_;  // [T, n, D] after the last layer
  TensorView logits_;
  TensorView drafter_logits_;
  std::vector<std::int32_t> counts_;
  TensorView counts_view_;  // [max_sequences] i32
  std::unique_ptr<DraftRound> drafts_;
  std::vector<double> wide_;  // read() of f64 profiles
};

}  // namespace hadal::model
