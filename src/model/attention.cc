#include "model/attention.h"

#include <algorithm>
#include <cmath>

#include "model/compressor.h"
#include "ops/attention.h"
#include "ops/commit_rows.h"
#include "ops/grouped_linear.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"
#include "ops/round_rows.h"

namespace hadal::model {
namespace {

/// qr = RMSNorm(wq_a x) [T, q_lora_rank]; q = rope(norm_per_head(wq_b qr)) [T, H, D].
Status make_queries(Step& step, const AttentionWeights& weights, const TensorView& x, AttentionActivations& kept) {
  const auto& config = step.config;
  const std::int64_t T = step.rows();
  const std::int64_t H = config.num_attention_heads;
  const std::int64_t D = config.head_dim;

  kept.down = step.real({T, config.q_lora_rank});
  HADAL_TRY(step.linear(x, weights.wq_a, kept.down));
  kept.latent = step.product({T, config.q_lora_rank});
  HADAL_TRY(ops::rms_norm(
      step.stream, {.input = kept.down, .weight = weights.q_norm, .out = kept.latent, .eps = config.rms_norm_eps}));
  const TensorView projected = step.real({T, H * D});
  HADAL_TRY(step.linear(kept.latent, weights.wq_b, projected));
  kept.query_before_norm = projected.reshaped({T * H, D});
  const TensorView heads = step.in_place_of(kept.query_before_norm);
  HADAL_TRY(ops::rms_norm(step.stream, {.input = kept.query_before_norm, .out = heads, .eps = config.rms_norm_eps}));
  HADAL_TRY(ops::rope(step.stream, {.x = heads.reshaped({T, H, D}),
                                    .positions = step.tables.layout.positions,
                                    .frequencies = step.rope.of(weights.compress_ratio),
                                    .inverse = false}));
  HADAL_ASSIGN(const TensorView rounded, step.product_input(heads.reshaped({T, H * D})));
  kept.query = rounded.reshaped({T, H, D});
  return {};
}

/// o [T, H, D] -> inverse rotation at the query's position, wo_a group by group, wo_b -> out [T, hidden_size].
Status project_output(Step& step, const AttentionWeights& weights, AttentionActivations& kept, const TensorView& out) {
  const auto& config = step.config;
  const std::int64_t T = step.rows();
  HADAL_TRY(ops::rope(step.stream, {.x = kept.output,
                                    .positions = step.tables.layout.positions,
                                    .frequencies = step.rope.of(weights.compress_ratio),
                                    .inverse = true}));
  HADAL_ASSIGN(const TensorView input,
               step.product_input(kept.output.reshaped({T, config.num_attention_heads * config.head_dim})));
  kept.output_latent = step.real({T, config.o_groups * config.o_lora_rank});
  // wo_a takes unquantised inputs in every profile: official code dequantises it (spec/model.md 2.3).
  HADAL_TRY(ops::grouped_linear(
      step.stream, {.input = input, .weight = weights.wo_a, .groups = config.o_groups, .out = kept.output_latent}));
  return step.linear(kept.output_latent, weights.wo_b, out);
}

}  // namespace

LayerRows allocate_rows(Step& step, std::int64_t compress_ratio) {
  const auto& config = step.config;
  const std::int64_t T = step.rows();
  const std::int64_t halves = compress_ratio == 4 ? 2 : 1;
  LayerRows rows;
  rows.keys = rows.step_keys = step.cache({T, config.head_dim});
  if (compress_ratio != 0) {
    rows.value = step.real({T, halves * config.head_dim});
    rows.gate = step.real({T, halves * config.head_dim});
  }
  if (compress_ratio == 4) {
    rows.index_value = step.real({T, halves * config.index_head_dim});
    rows.index_gate = step.real({T, halves * config.index_head_dim});
  }
  return rows;
}

Result<TensorView> make_keys(Step& step, const AttentionWeights& weights, const TensorView& x, const TensorView& keys) {
  const auto& config = step.config;
  const std::int64_t T = x.extent(0);
  const std::int64_t D = config.head_dim;
  const TensorView projected = step.real({T, D});
  HADAL_TRY(step.linear(x, weights.wkv, projected));
  const TensorView kv = step.in_place_of(projected);
  HADAL_TRY(ops::rms_norm(step.stream,
                          {.input = projected, .weight = weights.kv_norm, .out = kv, .eps = config.rms_norm_eps}));
  HADAL_TRY(ops::rope(step.stream, {.x = kv.reshaped({T, 1, D}),
                                    .positions = step.tables.layout.positions,
                                    .frequencies = step.rope.of(weights.compress_ratio),
                                    .inverse = false}));
  HADAL_TRY(round_cache_rows(step, kv, keys));
  return projected;
}

Result<AttentionActivations> attention(Step& step, const AttentionWeights& weights, const LayerState& state,
                                       std::int64_t layer, const TensorView& x, const LayerRows& rows,
                                       const TensorView& out) {
  const auto& config = step.config;
  const std::int64_t T = step.rows();
  const std::int64_t ratio = weights.compress_ratio;
  AttentionActivations kept;
  HADAL_TRY(make_queries(step, weights, x, kept));
  HADAL_ASSIGN(kept.keys_before_norm, make_keys(step, weights, x, rows.keys));
  step.note("kv", layer, rows.keys);

  kept.max_keys = config.sliding_window + std::max<std::int64_t>(0, config.dspark.block_size);
  if (ratio != 0) {
    const Compressor compressor{.weights = weights.compressor,
                                .ratio = ratio,
                                .value_ring = step.pool.ring(state.value),
                                .gate_ring = step.pool.ring(state.gate),
                                .pages = step.pool.page_rows(state.entries),
                                .rows = EntryRows::kKeyValue};
    HADAL_ASSIGN(kept.pooled, compress(step, compressor, layer, x, rows.value, rows.gate));
    kept.max_keys += step.tables.end_position / ratio;
  }
  TensorView selected;
  if (ratio == 4) {
    HADAL_ASSIGN(kept.indexer, select_entries(step, weights.indexer, state, layer, x, kept.latent, rows));
    step.note("index_selected", layer, kept.indexer.selected);
    if (!step.attend_all_entries) {
      selected = kept.indexer.selected;
      kept.max_keys = config.sliding_window + config.dspark.block_size + config.index_topk;
    }
  }

  kept.output = step.real({T, config.num_attention_heads, config.head_dim});
  if (step.keep_activations) kept.log_sum = step.real({T, config.num_attention_heads});
  HADAL_TRY(ops::attention(step.stream, {.query = kept.query,
                                         .step_keys = rows.step_keys,
                                         .window = step.pool.ring(state.window),
                                         .window_begin = step.tables.window_begin,
                                         .window_end = step.tables.window_end,
                                         .pages = step.pool.page_rows(state.entries),
                                         .selected = selected,
                                         .sink = weights.sink,
                                         .layout = step.tables.layout,
                                         .ratio = ratio,
                                         .max_keys = kept.max_keys,
                                         .scale = 1.0 / std::sqrt(static_cast<double>(config.head_dim)),
                                         .out = kept.output,
                                         .log_sum = kept.log_sum}));
  HADAL_TRY(project_output(step, weights, kept, out));
  return kept;
}

Status commit_layer(Step& step, const LayerState& state, const LayerRows& rows, const TensorView& count,
                    std::int64_t position_offset) {
  const auto commit = [&](const TensorView& from, const StatePart& ring) -> Status {
    if (ring.rows == 0) return {};
    return ops::commit_rows(step.stream, {.rows = from,
                                          .ring = step.pool.ring(ring),
                                          .count = count,
                                          .position_offset = position_offset,
                                          .layout = step.tables.layout});
  };
  HADAL_TRY(commit(rows.keys, state.window));
  HADAL_TRY(commit(rows.value, state.value));
  HADAL_TRY(commit(rows.gate, state.gate));
  HADAL_TRY(commit(rows.index_value, state.index_value));
  return commit(rows.index_gate, state.index_gate);
}

}  // namespace hadal::model
