#pragma once

#include <cstdint>

#include "base/result.h"
#include "model/attention.h"
#include "model/moe.h"
#include "model/step.h"
#include "model/weights.h"

namespace hadal::model {

/// One sub-layer's passage through its hyper-connection; valid until its arena is given back.
struct Connection {
  TensorView streams;     // [T, n, hidden_size] real before the sub-layer, if kept
  TensorView mixed;       // [T, hidden_size] real: the sub-layer's input before its norm
  TensorView input;       // [T, hidden_size] products' type
  TensorView post, comb;  // [T, n], [T, n, n] real: mixing coefficients for the way back
  TensorView output;      // [T, hidden_size] real: the sub-layer's result
};

/// What one layer makes on its way: all that its backward pass reads.
struct BlockActivations {
  Connection attention_connection;
  AttentionActivations attention;
  Connection ffn_connection;
  MoeActivations moe;
};

/// One layer on the residual streams [T, hc_mult, hidden_size], changed in place (spec/model.md 2): attention, then the
/// mixture of experts, each between hyper-connections. Only `rows` must live on until the step is committed; the result
/// only where step keeps activations.
[[nodiscard]] Result<BlockActivations> block(Step& step, const LayerWeights& weights, const LayerState& state,
                                             std::int64_t layer, const LayerRows& rows, const TensorView& streams);

/// The normalised input of a layer's attention: RMSNorm(hc_pre(streams)) [T, hidden_size] in the products' type,
/// without the rest of the layer: what a drafter's context rows need.
[[nodiscard]] Result<TensorView> attention_input(Step& step, const LayerWeights& weights, const TensorView& streams);

/// logits [R, vocab_size] = head . RMSNorm(hc_head(streams [R, hc_mult, hidden_size])). `hidden` [R, hidden_size] real
/// receives the hc_head output before the norm. Returns the normalised rows [R, hidden_size] in the products' type.
[[nodiscard]] Result<TensorView> head(Step& step, const HyperConnectionWeights& hc_head, const ops::Weight& norm,
                                      const ops::Weight& head_weight, const TensorView& streams,
                                      const TensorView& hidden, const TensorView& logits);

}  // namespace hadal::model
