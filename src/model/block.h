#pragma once

#include <cstdint>

#include "base/result.h"
#include "model/attention.h"
#include "model/step.h"
#include "model/weights.h"

namespace hadal::model {

/// One layer on the residual streams [T, hc_mult, hidden_size], changed in place (spec/model.md 2): attention, then the
/// mixture of experts, each between hyper-connections. Only `rows` must live on until the step is committed.
[[nodiscard]] Status block(Step& step, const LayerWeights& weights, const LayerState& state, std::int64_t layer,
                           const LayerRows& rows, const TensorView& streams);

/// The normalised input of a layer's attention: RMSNorm(hc_pre(streams)) [T, hidden_size] in the products' type,
/// without the rest of the layer: what a drafter's context rows need.
[[nodiscard]] Result<TensorView> attention_input(Step& step, const LayerWeights& weights, const TensorView& streams);

/// logits [R, vocab_size] = head . RMSNorm(hc_head(streams [R, hc_mult, hidden_size])). `hidden` [R, hidden_size] real
/// receives the hc_head output before the norm.
[[nodiscard]] Status head(Step& step, const HyperConnectionWeights& hc_head, const ops::Weight& norm,
                          const ops::Weight& head_weight, const TensorView& streams, const TensorView& hidden,
                          const TensorView& logits);

}  // namespace hadal::model
