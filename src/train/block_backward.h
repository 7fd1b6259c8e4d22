#pragma once

#include <cstdint>

#include "base/result.h"
#include "model/block.h"
#include "model/step.h"
#include "model/weights.h"
#include "tensor/tensor.h"

namespace hadal::train {

/// What the operators of a backward pass must know about a step beside its tables.
struct BackwardTables {
  TensorView first_block4;    // [S] i32: place of each sequence's first block among the step's blocks of 4
  TensorView first_block128;  // [S] i32: the same of blocks of 128

  [[nodiscard]] const TensorView& first_block(std::int64_t ratio) const {
    return ratio == 4 ? first_block4 : first_block128;
  }
};

/// Factors of the losses that arise inside a layer: each is a mean over the whole batch, of which this step is a part.
struct LayerLossWeights {
  double indexer = 0;  // of a row's divergence: 1 / rows of the batch that see an entry
  double balance = 0;  // of a sequence's balance loss: alpha / sequences of the batch; 0: none
};

/// Losses of one layer, filled by its backward pass.
struct LayerLosses {
  TensorView indexer;   // [T] real: divergence of a row (ratio 4; absent elsewhere)
  TensorView captured;  // [T] real: share of attention's mass on the indexer's choice (ratio 4; absent elsewhere)
  TensorView balance;   // [S] real: 1 for balanced routing, before alpha
};

/// One step on its way back: the step of the forward pass, without keeping what is made now.
struct Backward {
  model::Step& step;
  const BackwardTables& tables;
  LayerLossWeights loss_weights;
};

/// d_weight += d_out^T x and, unless `d_input` is absent, d_input (+)= d_out weight. `x` [R, K] real or products' type:
/// the linear's input; `d_out` [R, N] real.
[[nodiscard]] Status linear_backward(model::Step& step, const TensorView& x, const ops::Weight& weight,
                                     const ops::Weight& gradient, const TensorView& d_out, const TensorView& d_input,
                                     bool accumulate);

/// One layer backwards: `d_streams` [T, n, hidden_size] real holds dL/d(streams after the layer) and receives
/// dL/d(streams before it). Gradients of weights are added to `gradients`, whose tensors have the shapes of `weights`.
/// `kept` and `rows` are what model::block made in a step that keeps activations; the attention output in it is rotated
/// back.
[[nodiscard]] Status block_backward(Backward& backward, const model::LayerWeights& weights,
                                    const model::LayerWeights& gradients, const model::LayerState& state,
                                    const model::LayerRows& rows, const model::BlockActivations& kept,
                                    const LayerLosses& losses, const TensorView& d_streams);

}  // namespace hadal::train
