#pragma once

#include <cstdint>

#include "base/result.h"
#include "model/step.h"
#include "model/weights.h"

namespace hadal::model {

/// What the mixture makes on its way; valid until its arena is given back.
struct MoeActivations {
  TensorView logits;                  // [T, E] real: gate x
  TensorView experts;                 // [T, K] i32, ascending
  TensorView weights;                 // [T, K] real, in the order of experts
  TensorView shared_gate, shared_up;  // [T, inter] real: w1 x and w3 x of the shared expert
  TensorView shared_hidden;           // [T, inter] products' type: their SwiGLU
};

/// The mixture of experts (spec/model.md 2.7): x [T, hidden_size] in the products' type -> out [T, hidden_size] real:
/// the chosen experts in ascending order, the shared expert last.
[[nodiscard]] Result<MoeActivations> moe(Step& step, const MoeWeights& weights, std::int64_t layer, const TensorView& x,
                                         const TensorView& out);

}  // namespace hadal::model
