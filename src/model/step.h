#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

#include "base/result.h"
#include "formats/model_config.h"
#include "model/numerics.h"
#include "model/state.h"
#include "ops/backend.h"
#include "ops/step_tables.h"
#include "tensor/arena.h"

namespace hadal::model {

/// Called with named activations while a step is enqueued: may enqueue a download of the view (or, for "input", an
/// upload that replaces it) on the step's stream. Layers of the drafter count on after the main ones.
using ActivationTap = std::function<void(std::string_view name, std::int64_t layer, const TensorView& view)>;

/// Rotary frequencies [qk_rope_head_dim / 2] f32 of ratio-0 layers and of compressed ones.
struct RopeTables {
  TensorView main;
  TensorView compress;

  [[nodiscard]] const TensorView& of(std::int64_t compress_ratio) const {
    return compress_ratio == 0 ? main : compress;
  }
};

/// What every part of the model needs while it enqueues one step: where to enqueue, where to put activations, what the
/// rows are.
struct Step {
  ops::Stream& stream;
  Arena& arena;
  const formats::ModelConfig& config;
  const NumericsProfile& profile;
  const RopeTables& rope;
  const StatePool& pool;
  const ops::StepTables& tables;
  const ActivationTap* tap = nullptr;
  bool keep_activations = false;    // training: what the backward pass reads survives the layer
  bool attend_all_entries = false;  // training's dense stage: ratio-4 layers see every visible entry

  [[nodiscard]] std::int64_t rows() const { return tables.rows; }
  [[nodiscard]] TensorView real(Shape shape) { return arena.allocate(profile.real, shape); }
  [[nodiscard]] TensorView product(Shape shape) { return arena.allocate(profile.product, shape); }
  [[nodiscard]] TensorView cache(Shape shape) { return arena.allocate(profile.cache, shape); }
  [[nodiscard]] TensorView i32(Shape shape) { return arena.allocate(DType::kI32, shape); }
  /// Where an operator on x writes that may run in place: x itself, or memory of its own while activations are kept.
  [[nodiscard]] TensorView in_place_of(const TensorView& x) {
    return keep_activations ? arena.allocate(x.type(), x.shape()) : x;
  }
  /// Ends the life of the activations allocated in it, unless they are kept.
  [[nodiscard]] ArenaScope scope() { return ArenaScope(arena, keep_activations); }

  /// x in the type of products' inputs: itself where that is the type it has, else a rounded copy.
  [[nodiscard]] Result<TensorView> product_input(const TensorView& x);
  /// out = x . weight^T, x rounded first as the profile asks for that kind of weight.
  [[nodiscard]] Status linear(const TensorView& x, const ops::Weight& weight, const TensorView& out);
  /// x quantised as inputs of FP8 and FP4 linears are in this profile; itself for other weights.
  [[nodiscard]] Result<TensorView> quantized_input(const TensorView& x, const ops::Weight& weight);

  void note(std::string_view name, std::int64_t layer, const TensorView& view) const {
    if (tap != nullptr && *tap && stream.plan() == nullptr) (*tap)(name, layer, view);
  }
};

/// New tokens of one sequence, at the positions from its committed length on.
struct StepSequence {
  SequenceState* state = nullptr;
  std::span<const std::int64_t> tokens;
};

struct StepRequest {
  std::span<const StepSequence> sequences;
  /// Rows (numbered through all sequences in order) whose logits are wanted.
  std::span<const std::int32_t> logits_rows;
  /// MTP: run the whole drafting layer on the step's rows and give its logits at logits_rows too. The row of position p
  /// holds the streams of p - 1 and predicts p + 1.
  bool drafter_logits = false;
  const ActivationTap* tap = nullptr;
};

/// Errors: kInvalidArgument (a sequence without tokens, a token id outside the vocabulary), kResourceExhausted (a
/// sequence would be longer than max_tokens).
[[nodiscard]] Status check_sequences(const StepRequest& request, std::int64_t vocab_size, std::int64_t max_tokens);

/// A weight that official code multiplies with quantised inputs.
[[nodiscard]] inline bool has_quantized_inputs(const ops::Weight& weight) {
  return weight.codes.type() == DType::kE4m3 || weight.codes.type() == DType::kE2m1x2;
}

}  // namespace hadal::model
