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

/// The indexer's part of a step.
struct IndexerActivations {
  TensorView pooled;        // [blocks, index_head_dim] real: its entries before their norm, if kept
  TensorView query;         // [T, index_n_heads, index_head_dim] cache type
  TensorView head_weights;  // [T, index_n_heads] real, without `weight_scale`
  double weight_scale = 0;  // 1 / (sqrt(index_head_dim) sqrt(index_n_heads))
  TensorView selected;      // [T, index_topk] i32: chosen entries, ascending, padded with -1
};

/// What one attention sub-layer makes on its way; valid until its arena is given back.
struct AttentionActivations {
  TensorView down;               // [T, q_lora_rank] real: wq_a x
  TensorView latent;             // [T, q_lora_rank] products' type: the normalised query latent
  TensorView query_before_norm;  // [T H, D] real, if kept
  TensorView query;              // [T, H, D] products' type
  TensorView keys_before_norm;   // [T, D] real, if kept
  TensorView pooled;             // [blocks, D] real: compressed entries before their norm, if kept
  IndexerActivations indexer;    // ratio 4
  TensorView output;             // [T, H, D] real: attention's result after the inverse rotation
  TensorView log_sum;            // [T, H] real: logarithm of the softmax's denominator, if kept
  TensorView output_latent;      // [T, o_groups o_lora_rank] real: wo_a's result
  std::int64_t max_keys = 0;     // upper bound of the keys of any row
};

/// Memory for the rows of one layer, by its compress ratio.
[[nodiscard]] LayerRows allocate_rows(Step& step, std::int64_t compress_ratio);

/// The key = value rows of x [T, hidden_size]: rope(RMSNorm(wkv x)), FP8-simulated where the profile says so. Returns
/// wkv x [T, head_dim] real, which is overwritten unless activations are kept.
[[nodiscard]] Result<TensorView> make_keys(Step& step, const AttentionWeights& weights, const TensorView& x,
                                           const TensorView& keys);

/// The attention sub-layer (spec/model.md 2.3 to 2.6): x [T, hidden_size] in the products' type -> out [T, hidden_size]
/// real. Reads committed rings and pages, fills `rows`, appends the entries of the blocks that the step completes.
[[nodiscard]] Result<AttentionActivations> attention(Step& step, const AttentionWeights& weights,
                                                     const LayerState& state, std::int64_t layer, const TensorView& x,
                                                     const LayerRows& rows, const TensorView& out);

/// Moves the first count[s] rows of each sequence into the layer's rings. `position_offset` as in ops::commit_rows.
[[nodiscard]] Status commit_layer(Step& step, const LayerState& state, const LayerRows& rows, const TensorView& count,
                                  std::int64_t position_offset);

}  // namespace hadal::model
