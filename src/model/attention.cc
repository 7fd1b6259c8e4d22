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
struct Queries {
  TensorView latent;
  TensorView heads;
};

Result<Queries> make_queries(Step& step, const AttentionWeights& weights, const TensorView& x) {
  const auto& config = step.config;
  const std::int64_t T = step.rows();
  const std::int64_t H = config.num_attention_heads;
  const std::int64_t D = config.head_dim;

  const TensorView down = step.real({T, config.q_lora_rank});
  HADAL_TRY(step.linear(x, weights.wq_a, down));
  const TensorView latent = step.product({T, config.q_lora_rank});
  HADAL_TRY(
      ops::rms_norm(step.stream, {.input = down, .weight = weights.q_norm, .out = latent, .eps = config.rms_norm_eps}));
  const TensorView q = step.real({T, H * D});
  HADAL_TRY(step.linear(latent, weights.wq_b, q));
  const TensorView heads = q.reshaped({T * H, D});
  HADAL_TRY(ops::rms_norm(step.stream, {.input = heads, .out = heads, .eps = config.rms_norm_eps}));
  HADAL_TRY(ops::rope(step.stream, {.x = q.reshaped({T, H, D}),
                                    .positions = step.tables.layout.positions,
                                    .frequencies = step.rope.of(weights.compress_ratio),
                                    .inverse = false}));
  HADAL_ASSIGN(const TensorView rounded, step.product_input(q));
  return Queries{.latent = latent, .heads = rounded.reshaped({T, H, D})};
}

/// o [T, H, D] -> inverse rotation at the query's position, wo_a group by group, wo_b -> out [T, hidden_size].
Status project_output(Step& step, const AttentionWeights& weights, const TensorView& o, const TensorView& out) {
  const auto& config = step.config;
  const std::int64_t T = step.rows();
  HADAL_TRY(ops::rope(step.stream, {.x = o,
                                    .positions = step.tables.layout.positions,
                                    .frequencies = step.rope.of(weights.compress_ratio),
                                    .inverse = true}));
  HADAL_ASSIGN(const TensorView input,
               step.product_input(o.reshaped({T, config.num_attention_heads * config.head_dim})));
  const TensorView latent = step.real({T, config.o_groups * config.o_lora_rank});
  // wo_a takes unquantised inputs in every profile: official code dequantises it (spec/model.md 2.3).
  HADAL_TRY(ops::grouped_linear(step.stream,
                                {.input = input, .weight = weights.wo_a, .groups = config.o_groups, .out = latent}));
  return step.linear(latent, weights.wo_b, out);
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

Status make_keys(Step& step, const AttentionWeights& weights, const TensorView& x, const TensorView& keys) {
  const auto& config = step.config;
  const std::int64_t T = x.extent(0);
  const std::int64_t D = config.head_dim;
  const TensorView kv = step.real({T, D});
  HADAL_TRY(step.linear(x, weights.wkv, kv));
  HADAL_TRY(
      ops::rms_norm(step.stream, {.input = kv, .weight = weights.kv_norm, .out = kv, .eps = config.rms_norm_eps}));
  HADAL_TRY(ops::rope(step.stream, {.x = kv.reshaped({T, 1, D}),
                                    .positions = step.tables.layout.positions,
                                    .frequencies = step.rope.of(weights.compress_ratio),
                                    .inverse = false}));
  return round_cache_rows(step, kv, keys);
}

Status attention(Step& step, const AttentionWeights& weights, const LayerState& state, std::int64_t layer,
                 const TensorView& x, const LayerRows& rows, const TensorView& out) {
  const auto& config = step.config;
  const std::int64_t T = step.rows();
  const std::int64_t ratio = weights.compress_ratio;
  HADAL_ASSIGN(const Queries q, make_queries(step, weights, x));
  HADAL_TRY(make_keys(step, weights, x, rows.keys));
  step.note("kv", layer, rows.keys);

  std::int64_t max_keys = config.sliding_window + std::max<std::int64_t>(0, config.dspark.block_size);
  TensorView selected;
  if (ratio != 0) {
    const Compressor compressor{.weights = weights.compressor,
                                .ratio = ratio,
                                .value_ring = step.pool.ring(state.value),
                                .gate_ring = step.pool.ring(state.gate),
                                .pages = step.pool.page_rows(state.entries),
                                .rows = EntryRows::kKeyValue};
    HADAL_TRY(compress(step, compressor, layer, x, rows.value, rows.gate));
    max_keys += step.tables.end_position / ratio;
  }
  if (ratio == 4) {
    max_keys = config.sliding_window + config.dspark.block_size + config.index_topk;
    HADAL_ASSIGN(selected, select_entries(step, weights.indexer, state, layer, x, q.latent, rows));
    step.note("index_selected", layer, selected);
  }

  const TensorView o = step.real({T, config.num_attention_heads, config.head_dim});
  HADAL_TRY(ops::attention(step.stream, {.query = q.heads,
                                         .step_keys = rows.step_keys,
                                         .window = step.pool.ring(state.window),
                                         .window_begin = step.tables.window_begin,
                                         .window_end = step.tables.window_end,
                                         .pages = step.pool.page_rows(state.entries),
                                         .selected = selected,
                                         .sink = weights.sink,
                                         .layout = step.tables.layout,
                                         .ratio = ratio,
                                         .max_keys = max_keys,
                                         .scale = 1.0 / std::sqrt(static_cast<double>(config.head_dim)),
                                         .out = o}));
  return project_output(step, weights, o, out);
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
