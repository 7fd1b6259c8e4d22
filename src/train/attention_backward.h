#pragma once

#include "base/result.h"
#include "model/attention.h"
#include "train/block_backward.h"

namespace hadal::train {

/// The attention sub-layer backwards: `d_out` [T, hidden_size] real -> `d_input` [T, hidden_size] real, overwritten.
/// `x` is the sub-layer's input in the products' type. The indexer learns from its own objective alone: nothing flows
/// from it into `d_input` (spec/training.md 1.5).
[[nodiscard]] Status attention_backward(Backward& backward, const model::AttentionWeights& weights,
                                        const model::AttentionWeights& gradients, const model::LayerState& state,
                                        const TensorView& x, const model::LayerRows& rows,
                                        const model::AttentionActivations& kept, const LayerLosses& losses,
                                        const TensorView& d_out, const TensorView& d_input);

}  // namespace hadal::train
