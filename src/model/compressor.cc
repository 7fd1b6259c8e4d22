#include "model/compressor.h"

#include <cmath>

#include "ops/add_position_bias.h"
#include "ops/append_entries.h"
#include "ops/compress.h"
#include "ops/hadamard.h"
#include "ops/indexer_select.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"
#include "ops/round_rows.h"

namespace hadal::model {
namespace {

/// rows [R, C] real -> out in the cache's type; Hadamard and FP4 first where the profile says so. Changes `rows`.
Status round_index_rows(Step& step, const TensorView& rows, const TensorView& out) {
  if (!step.profile.quantize_cache) {
    return ops::round_rows(step.stream, {.input = rows, .out = out, .rounding = ops::Rounding::kNone, .channels = 0});
  }
  HADAL_TRY(ops::hadamard(step.stream, {.x = rows}));
  return ops::round_rows(
      step.stream, {.input = rows, .out = out, .rounding = ops::Rounding::kFp4Block32, .channels = rows.extent(1)});
}

}  // namespace

Status round_cache_rows(Step& step, const TensorView& rows, const TensorView& out) {
  const bool quantize = step.profile.quantize_cache;
  return ops::round_rows(step.stream, {.input = rows,
                                       .out = out,
                                       .rounding = quantize ? ops::Rounding::kFp8Block64 : ops::Rounding::kNone,
                                       .channels = quantize ? step.config.nope_dim() : 0});
}

Result<TensorView> compress(Step& step, const Compressor& compressor, std::int64_t layer, const TensorView& x,
                            const TensorView& value, const TensorView& gate) {
  const ops::CompletedBlocks& blocks = step.tables.blocks(compressor.ratio);
  const std::int64_t C = compressor.pages.extent(2);
  HADAL_TRY(step.linear(x, compressor.weights.wkv, value));
  HADAL_TRY(step.linear(x, compressor.weights.wgate, gate));
  HADAL_TRY(ops::add_position_bias(
      step.stream, {.x = gate, .positions = step.tables.layout.positions, .bias = compressor.weights.ape}));

  const TensorView pooled = step.real({blocks.count, C});
  HADAL_TRY(ops::compress(step.stream, {.value = value,
                                        .gate = gate,
                                        .value_ring = compressor.value_ring,
                                        .gate_ring = compressor.gate_ring,
                                        .last_row = blocks.last_row,
                                        .layout = step.tables.layout,
                                        .ratio = compressor.ratio,
                                        .overlap = compressor.ratio == 4,
                                        .out = pooled}));
  const TensorView entries = step.in_place_of(pooled);
  HADAL_TRY(ops::rms_norm(
      step.stream,
      {.input = pooled, .weight = compressor.weights.norm, .out = entries, .eps = step.config.rms_norm_eps}));
  HADAL_TRY(ops::rope(step.stream, {.x = entries.reshaped({blocks.count, 1, C}),
                                    .positions = blocks.positions,
                                    .frequencies = step.rope.compress,
                                    .inverse = false}));
  const TensorView rounded = step.cache({blocks.count, C});
  if (compressor.rows == EntryRows::kKeyValue) {
    HADAL_TRY(round_cache_rows(step, entries, rounded));
    step.note("compressed", layer, rounded);
  } else {
    HADAL_TRY(round_index_rows(step, entries, rounded));
    step.note("index_keys", layer, rounded);
  }
  HADAL_TRY(ops::append_entries(step.stream, {.rows = rounded,
                                              .last_row = blocks.last_row,
                                              .layout = step.tables.layout,
                                              .ratio = compressor.ratio,
                                              .pages = compressor.pages}));
  return pooled;
}

Result<IndexerActivations> select_entries(Step& step, const IndexerWeights& weights, const LayerState& state,
                                          std::int64_t layer, const TensorView& x, const TensorView& latent,
                                          const LayerRows& rows) {
  const auto& config = step.config;
  const std::int64_t T = step.rows();
  const std::int64_t heads = config.index_n_heads;
  const std::int64_t C = config.index_head_dim;
  constexpr std::int64_t kRatio = 4;
  const Compressor compressor{.weights = weights.compressor,
                              .ratio = kRatio,
                              .value_ring = step.pool.ring(state.index_value),
                              .gate_ring = step.pool.ring(state.index_gate),
                              .pages = step.pool.page_rows(state.index_entries),
                              .rows = EntryRows::kIndexer};
  IndexerActivations kept;
  HADAL_ASSIGN(kept.pooled, compress(step, compressor, layer, x, rows.index_value, rows.index_gate));

  const TensorView q = step.real({T, heads * C});
  HADAL_TRY(step.linear(latent, weights.wq_b, q));
  HADAL_TRY(ops::rope(step.stream, {.x = q.reshaped({T, heads, C}),
                                    .positions = step.tables.layout.positions,
                                    .frequencies = step.rope.compress,
                                    .inverse = false}));
  const TensorView query = step.cache({T * heads, C});
  HADAL_TRY(round_index_rows(step, q.reshaped({T * heads, C}), query));
  kept.query = query.reshaped({T, heads, C});
  kept.head_weights = step.real({T, heads});
  HADAL_TRY(step.linear(x, weights.weights_proj, kept.head_weights));
  kept.weight_scale = 1.0 / (std::sqrt(static_cast<double>(C)) * std::sqrt(static_cast<double>(heads)));

  kept.selected = step.i32({T, config.index_topk});
  HADAL_TRY(ops::indexer_select(step.stream, {.query = kept.query,
                                              .head_weights = kept.head_weights,
                                              .weight_scale = kept.weight_scale,
                                              .pages = compressor.pages,
                                              .layout = step.tables.layout,
                                              .ratio = kRatio,
                                              .max_entries = step.tables.end_position / kRatio,
                                              .selected = kept.selected}));
  return kept;
}

}  // namespace hadal::model
