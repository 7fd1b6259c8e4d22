#pragma once

#include "base/result.h"
#include "model/step.h"
#include "model/weights.h"
#include "tensor/tensor.h"

namespace hadal::train {

/// The way from residual streams to logits: its weights, or their gradients.
struct HeadWeights {
  const model::HyperConnectionWeights& hc_head;
  const ops::Weight& norm;
  const ops::Weight& head;
};

/// loss[t] = cross entropy of targets[t] (-1: 0) under head(streams[t]); with `gradients` also adds their gradients and
/// fills `d_streams` [T, n, hidden_size] real with that of weight * sum of losses. Works in pieces of rows, so that the
/// logits of a long step never exist at once. streams [T, n, hidden_size] real, targets [T] i32, loss [T] real.
[[nodiscard]] Status loss_head(model::Step& step, const HeadWeights& weights, const HeadWeights* gradients,
                               const TensorView& streams, const TensorView& targets, double weight,
                               const TensorView& loss, const TensorView& d_streams);

}  // namespace hadal::train
