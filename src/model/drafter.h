#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "model/attention.h"
#include "model/model.h"
#include "model/state.h"
#include "model/step.h"
#include "model/weights.h"

namespace hadal::model {

/// The MTP layer's input and what it was made of; all but `streams` are valid only where activations are kept.
struct MtpInput {
  TensorView streams;   // [T, n, D] real
  TensorView embedded;  // [T, D] real: the tokens' embeddings
  TensorView token;     // [T, D] products' type: their norm, the input of e_proj
  TensorView hidden;    // [T n, D] products' type: norm of the streams before, the input of h_proj
};

/// The MTP layer's input (spec/model.md 2.9): for each row and stream i, e_proj(RMSNorm(embed[token], enorm)) +
/// h_proj(RMSNorm(before[i], hnorm)). `before` [T, n, D]: streams of the position before the token's.
[[nodiscard]] Result<MtpInput> mtp_input(Step& step, const DrafterWeights& weights, const TensorView& before);

/// Key rows that MTP's window keeps of a main step: only the way to the layer's keys, not the layer. `step` has the
/// tables shifted by one position; `input` is mtp_input's.
[[nodiscard]] Status mtp_context(Step& step, const DrafterWeights& weights, const TensorView& input,
                                 const LayerRows& rows);

/// DSpark's context rows of a main step (spec/dspark.md 3.1): main_x = RMSNorm(main_proj target_hidden), then each
/// stage's keys. `target_hidden` [T, targets D] real.
[[nodiscard]] Status dspark_context(Step& step, const DrafterWeights& weights, const TensorView& target_hidden,
                                    const std::vector<LayerRows>& stages);

/// The DSpark block of B rows a sequence (spec/dspark.md 3.2) through all stages: hidden [rows, D] real and base logits
/// [rows, vocab_size] real. `stages`: memory for the block's keys.
struct DSparkBlock {
  TensorView hidden;
  TensorView base_logits;
};
[[nodiscard]] Result<DSparkBlock> dspark_block(Step& step, const DrafterWeights& weights, const StateLayout& layout,
                                               const std::vector<LayerRows>& stages);

/// Markov correction and confidence of one block position (spec/dspark.md 3.3), for S sequences.
struct DSparkChoice {
  TensorView logits;      // [S, vocab_size] real
  TensorView confidence;  // [S, 1] real, before the sigmoid
};
/// `previous` [S] i64: the tokens before this position. hidden, base_logits: this position's rows (may be strided).
/// `identity` [S] i32 = 0 .. S-1.
[[nodiscard]] Result<DSparkChoice> dspark_choice(Step& step, const DrafterWeights& weights, const TensorView& previous,
                                                 const TensorView& hidden, const TensorView& base_logits,
                                                 const TensorView& identity);

/// Rounds of drafts of an executor: on committed state, in the step's arena, without a trace. One thread at a time.
class DraftRound {
 public:
  struct Limits {
    std::int64_t sequences = 1;
    std::int64_t drafts = 1;  // of a round; DSpark: dspark_block_size
    std::int64_t pages = 0;   // of a sequence
  };

  /// Takes memory for the rounds' tables. Errors: kResourceExhausted.
  [[nodiscard]] static Result<std::unique_ptr<DraftRound>> create(const Model& model, StatePool& pool,
                                                                  ops::Stream& stream, Arena& arena,
                                                                  const Limits& limits);
  /// Enqueues the largest round, for a stream that plans.
  [[nodiscard]] Status plan();
  /// Starts a round for sequences whose tokens are all committed; `anchors`: the token that follows each. Gives the
  /// arena's former contents up. Errors: kInvalidArgument.
  [[nodiscard]] Status begin(std::span<const SequenceState* const> sequences, std::span<const std::int64_t> anchors,
                             const ActivationTap* tap);
  /// Enqueues the next position; `previous`: the anchors at first, then the drafts chosen last. Errors:
  /// kInvalidArgument (no such position, a token outside the vocabulary).
  [[nodiscard]] Status next(std::span<const std::int64_t> previous);
  [[nodiscard]] const TensorView& logits() const { return logits_; }          // [S, vocab_size]
  [[nodiscard]] const TensorView& confidence() const { return confidence_; }  // [S, 1]; absent for MTP

 private:
  DraftRound(const Model& model, StatePool& pool, ops::Stream& stream, Arena& arena, const Limits& limits)
      : model_(model), pool_(pool), layout_(pool.layout()), stream_(stream), arena_(arena), limits_(limits) {}
  [[nodiscard]] bool dspark() const { return model_.drafter().kind == formats::DrafterKind::kDSpark; }
  [[nodiscard]] Step step(const ActivationTap* tap) { return model_.step(stream_, arena_, pool_, tables_, tap); }
  [[nodiscard]] Status begin_dspark(const ActivationTap* tap);
  [[nodiscard]] Status begin_mtp();
  [[nodiscard]] Status next_dspark();
  [[nodiscard]] Status next_mtp();

  const Model& model_;
  StatePool& pool_;
  const StateLayout& layout_;
  ops::Stream& stream_;
  Arena& arena_;
  Limits limits_;
  Buffer memory_;
  std::optional<ops::StepTableBuilder> builder_;
  TensorView identity_;  // [max sequences] i32: 0, 1, ...
  TensorView previous_;  // [max sequences] i64

  std::int64_t drafted_ = 0;  // positions of the round under way
  std::vector<const SequenceState*> sequences_;
  std::vector<ops::RowRange> ranges_;
  std::vector<std::int64_t> tokens_;
  ops::StepTables tables_;
  std::vector<LayerRows> rows_;  // DSpark: a stage each
  DSparkBlock block_;
  TensorView mtp_keys_;     // [S, drafts, head_dim]
  TensorView mtp_streams_;  // [S, n, D] of the position before
  TensorView logits_;
  TensorView confidence_;
};

}  // namespace hadal::model
