#pragma once

#include <cstdint>

#include "base/result.h"
#include "model/state.h"
#include "model/step.h"
#include "model/weights.h"

namespace hadal::model {

/// Rows of one layer's step that its state takes over at commit: they outlive the layer's other activations.
struct LayerRows {
  TensorView keys;                     // [T, head_dim], cache type: written by the step
  TensorView step_keys;                // [rows, head_dim]: what attention reads; `keys`, or more rows that hold it
  TensorView value, gate;              // [T, c head_dim], compressed layers
  TensorView index_value, index_gate;  // [T, 2 index_head_dim], ratio 4
};

/// Memory for the rows of one layer, by its compress ratio.
[[nodiscard]] LayerRows allocate_rows(Step& step, std::int64_t compress_ratio);

/// The key = value rows of x [T, hidden_size]: rope(RMSNorm(wkv x)), FP8-simulated where the profile says so.
[[nodiscard]] Status make_keys(Step& step, const AttentionWeights& weights, const TensorView& x,
                               const TensorView& keys);

/// The attention sub-layer (spec/model.md 2.3 to 2.6): x [T, hidden_size] in the products' type -> out [T, hidden_size]
/// real. Reads committed rings and pages, fills `rows`, appends the entries of the blocks that the step completes.
[[nodiscard]] Status attention(Step& step, const AttentionWeights& weights, const LayerState& state, std::int64_t layer,
                               const TensorView& x, const LayerRows& rows, const TensorView& out);

/// Moves the first count[s] rows of each sequence into the layer's rings. `position_offset` as in ops::commit_rows.
[[nodiscard]] Status commit_layer(Step& step, const LayerState& state, const LayerRows& rows, const TensorView& count,
                                  std::int64_t position_offset);

}  // namespace hadal::model
