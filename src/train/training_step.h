#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "model/model.h"
#include "model/state.h"
#include "model/step.h"
#include "model/weights.h"
#include "ops/step_tables.h"
#include "tensor/buffer.h"
#include "train/block_backward.h"

namespace hadal::train {

/// A document part: positions start at 0, nothing is seen beyond it.
struct TrainingSequence {
  std::span<const std::int32_t> tokens;     // at least 1
  std::span<const std::uint8_t> loss_mask;  // like tokens: 1 where the prediction of the next token counts
};

/// What the losses of a batch are means over.
struct BatchCounts {
  std::int64_t loss_tokens = 0;   // predictions of the next token
  std::int64_t mtp_tokens = 0;    // predictions of the one after it
  std::int64_t indexer_rows = 0;  // tokens that see at least one compressed entry of 4
  std::int64_t sequences = 0;

  BatchCounts& operator+=(const BatchCounts& other);
};
[[nodiscard]] BatchCounts count(std::span<const TrainingSequence> sequences);

/// Weights of the losses, and the stage of the attention. May change from step to step.
struct Objective {
  double mtp_weight = 0.3;          // of the mean MTP loss; 0: the MTP layer is not run
  double indexer_weight = 1.0;      // of the mean divergence of the indexers, summed over ratio-4 layers
  double balance_alpha = 1e-4;      // of the mean sequence-wise balance loss, summed over layers with learned routing
  bool attend_all_entries = false;  // dense stage: ratio-4 layers attend to every visible entry
};

/// Sums over a micro-batch, without weights; added up in row order in double.
struct StepLosses {
  BatchCounts counts;
  double next_token = 0;                               // nats
  double mtp = 0;                                      // nats
  double indexer = 0;                                  // nats, all ratio-4 layers
  double captured = 0;                                 // attention's mass on the indexers' choices, all ratio-4 layers
  double balance = 0;                                  // 1 a sequence and layer when balanced
  std::vector<std::vector<std::int64_t>> expert_load;  // [layer, the MTP layer last][expert]: (token, slot) pairs

  StepLosses& operator+=(const StepLosses& other);
};

/// What the backward pass finds and what it makes again.
enum class Recompute : std::uint8_t {
  kNone,   // every activation is kept: fastest
  kLayer,  // only the streams between layers; each layer runs forward a second time
};

/// Forward and backward passes of micro-batches through a model: adds the gradient of the objective to `gradients`.
/// Owns the memory of activations and states; the model, its weight memory and the gradients must outlive it. Not for
/// several threads at once.
class TrainingStep {
 public:
  struct Limits {
    std::int64_t rows = 0;        // tokens of a micro-batch
    std::int64_t sequences = 0;   // its document parts
    std::int64_t max_tokens = 0;  // the longest part
  };

  /// `gradients`: tensors of the weights' shapes, f32 (f64 where the profile computes in double).
  /// Errors: kUnimplemented with everything that the backend lacks, kUnsupported (a DSpark drafter, a profile that
  /// quantises the inputs of linears), kResourceExhausted.
  [[nodiscard]] static Result<std::unique_ptr<TrainingStep>> create(const model::Model& model,
                                                                    const model::ModelWeights& gradients,
                                                                    const Limits& limits, Recompute recompute);

  /// Forward and backward. `batch`: counts of the whole batch that this micro-batch is a part of.
  /// Errors: kInvalidArgument (limits, ids outside the vocabulary, mask of another length).
  [[nodiscard]] Result<StepLosses> run(std::span<const TrainingSequence> sequences, const BatchCounts& batch,
                                       const Objective& objective);
  /// Forward only; indexer and balance losses are not computed. `tap` gets the layers' activations, and "logits"
  /// [rows, vocab_size] real piece by piece.
  [[nodiscard]] Result<StepLosses> evaluate(std::span<const TrainingSequence> sequences, const Objective& objective,
                                            const model::ActivationTap* tap = nullptr);

  /// Bytes of activations, states and scratch.
  [[nodiscard]] std::int64_t bytes() const;

 private:
  /// One of the two passes through layers: the main model's, or the MTP layer's.
  struct Layer {
    const model::LayerWeights& weights;
    const model::LayerWeights& gradients;
    const model::LayerState& state;
    std::int64_t number;
  };
  /// What a layer's forward pass leaves for its backward pass.
  struct Kept {
    model::LayerRows rows;
    model::BlockActivations activations;
    TensorView input;    // [T, n, hidden_size] real: streams before the layer (kLayer only)
    TensorView experts;  // [T, K] i32
    LayerLosses losses;
  };
  /// Weights of one enqueued pass.
  struct Weights {
    double next_token = 0;
    double mtp = 0;
    LayerLossWeights layer = {};
    bool backward = false;
    bool attend_all_entries = false;
    bool drafter = false;
    const model::ActivationTap* tap = nullptr;
  };

  TrainingStep(const model::Model& model, const model::ModelWeights& gradients, const Limits& limits,
               Recompute recompute);

  [[nodiscard]] Status plan_and_allocate();
  [[nodiscard]] Status check(std::span<const TrainingSequence> sequences) const;
  [[nodiscard]] Result<StepLosses> pass(std::span<const TrainingSequence> sequences, const Weights& weights);
  [[nodiscard]] Status build_tables(std::span<const TrainingSequence> sequences);
  [[nodiscard]] Status enqueue(const Weights& weights);
  [[nodiscard]] Status enqueue_drafter(const Weights& weights, const TensorView& streams, const TensorView& d_streams);
  [[nodiscard]] model::Step make_step(const ops::StepTables& tables, const Weights& weights, bool keep);
  [[nodiscard]] Layer layer(std::int64_t number) const;
  void allocate_losses(const Layer& layer, Kept& kept);
  [[nodiscard]] Status forward(model::Step& step, const Layer& layer, const Weights& weights, Kept& kept,
                               const TensorView& streams);
  [[nodiscard]] Status backward(model::Step& step, const Layer& layer, const Weights& weights, Kept& kept,
                                const TensorView& d_streams);
  [[nodiscard]] Result<StepLosses> collect(const BatchCounts& counts, const Weights& weights);
  [[nodiscard]] double download_sum(const TensorView& values);

  const model::Model& model_;
  const model::ModelWeights& gradients_;
  Limits limits_;
  Recompute recompute_;
  std::unique_ptr<model::StatePool> pool_;
  std::unique_ptr<ops::Stream> stream_;
  std::optional<ops::StepTableBuilder> main_builder_, shifted_builder_;
  ops::StepTables tables_, shifted_tables_;
  BackwardTables first_blocks_;       // room for the most sequences
  BackwardTables backward_tables_;    // of the present step
  TensorView targets_, mtp_targets_;  // [T] i32
  TensorView loss_, mtp_loss_;        // [T] real
  std::vector<Kept> kept_;            // main layers, then the MTP layer
  std::vector<model::SequenceState> states_;
  std::vector<std::int32_t> host_;  // staging of the small tables
  Arena arena_;
  Buffer tables_memory_, arena_memory_, scratch_memory_;
};

}  // namespace hadal::train
