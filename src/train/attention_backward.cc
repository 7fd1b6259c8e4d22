#include "train/attention_backward.h"

#include <cmath>

#include "ops/add_position_bias.h"
#include "ops/attention.h"
#include "ops/compress.h"
#include "ops/grouped_linear.h"
#include "ops/hadamard.h"
#include "ops/indexer_loss.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"

namespace hadal::train {
namespace {

using model::Step;

/// Turns x [rows, heads, D] by its positions, or back: the one is the other's backward.
Status rotate(Step& step, const TensorView& x, const TensorView& positions, const TensorView& frequencies,
              bool inverse) {
  return ops::rope(step.stream, {.x = x, .positions = positions, .frequencies = frequencies, .inverse = inverse});
}

/// wo_b and wo_a backwards: d_out [T, hidden_size] -> gradient at attention's result before the inverse rotation
/// [T, H, D] real. Turns kept.output back to what it was there.
Result<TensorView> output_backward(Step& step, const model::AttentionWeights& weights,
                                   const model::AttentionWeights& gradients, const model::AttentionActivations& kept,
                                   const TensorView& d_out) {
  const auto& config = step.config;
  const std::int64_t T = step.rows();
  const std::int64_t H = config.num_attention_heads;
  const TensorView d_output = step.real({T, H, config.head_dim});
  {
    const ArenaScope scope = step.scope();
    const TensorView d_latent = step.real({T, config.o_groups * config.o_lora_rank});
    HADAL_TRY(linear_backward(step, kept.output_latent, weights.wo_b, gradients.wo_b, d_out, d_latent, false));
    HADAL_ASSIGN(const TensorView input, step.product_input(kept.output.reshaped({T, H * config.head_dim})));
    HADAL_TRY(ops::grouped_linear_backward(step.stream, {.input = input,
                                                         .weight = weights.wo_a,
                                                         .groups = config.o_groups,
                                                         .d_out = d_latent,
                                                         .d_input = d_output.reshaped({T, H * config.head_dim}),
                                                         .d_weight = gradients.wo_a.codes}));
  }
  const TensorView& positions = step.tables.layout.positions;
  const TensorView& frequencies = step.rope.of(weights.compress_ratio);
  HADAL_TRY(rotate(step, d_output, positions, frequencies, false));
  HADAL_TRY(rotate(step, kept.output, positions, frequencies, false));
  return d_output;
}

/// From the query heads back to x: overwrites d_input.
Status query_backward(Step& step, const model::AttentionWeights& weights, const model::AttentionWeights& gradients,
                      const TensorView& x, const model::AttentionActivations& kept, const TensorView& d_query,
                      const TensorView& d_input) {
  const auto& config = step.config;
  const std::int64_t T = step.rows();
  const std::int64_t H = config.num_attention_heads;
  const std::int64_t D = config.head_dim;
  const ArenaScope scope = step.scope();
  HADAL_TRY(rotate(step, d_query, step.tables.layout.positions, step.rope.of(weights.compress_ratio), true));
  const TensorView d_heads = d_query.reshaped({T * H, D});
  HADAL_TRY(ops::rms_norm_backward(
      step.stream,
      {.input = kept.query_before_norm, .d_out = d_heads, .eps = config.rms_norm_eps, .d_input = d_heads}));
  const TensorView d_latent = step.real({T, config.q_lora_rank});
  HADAL_TRY(
      linear_backward(step, kept.latent, weights.wq_b, gradients.wq_b, d_query.reshaped({T, H * D}), d_latent, false));
  HADAL_TRY(ops::rms_norm_backward(step.stream, {.input = kept.down,
                                                 .weight = weights.q_norm,
                                                 .d_out = d_latent,
                                                 .eps = config.rms_norm_eps,
                                                 .d_input = d_latent,
                                                 .d_weight = gradients.q_norm.codes}));
  return linear_backward(step, x, weights.wq_a, gradients.wq_a, d_latent, d_input, false);
}

/// From the window's keys back to x: added to d_input.
Status keys_backward(Step& step, const model::AttentionWeights& weights, const model::AttentionWeights& gradients,
                     const TensorView& x, const model::AttentionActivations& kept, const TensorView& d_keys,
                     const TensorView& d_input) {
  const std::int64_t T = step.rows();
  HADAL_TRY(rotate(step, d_keys.reshaped({T, 1, step.config.head_dim}), step.tables.layout.positions,
                   step.rope.of(weights.compress_ratio), true));
  HADAL_TRY(ops::rms_norm_backward(step.stream, {.input = kept.keys_before_norm,
                                                 .weight = weights.kv_norm,
                                                 .d_out = d_keys,
                                                 .eps = step.config.rms_norm_eps,
                                                 .d_input = d_keys,
                                                 .d_weight = gradients.kv_norm.codes}));
  return linear_backward(step, x, weights.wkv, gradients.wkv, d_keys, d_input, true);
}

/// One compressor's forward pass, seen from behind.
struct CompressorPass {
  const model::CompressorWeights& weights;
  const model::CompressorWeights& gradients;
  std::int64_t ratio;
  TensorView value, gate;  // [T, c C] real, the gate with its position bias
  TensorView pooled;       // [blocks, C] real, before the norm
};

/// From the entries back to x: `d_entries` [blocks, C] real is used up; added to d_input unless that is absent.
Status compressor_backward(Step& step, const CompressorPass& pass, const TensorView& x, const TensorView& d_entries,
                           const TensorView& d_input) {
  const ops::CompletedBlocks& blocks = step.tables.blocks(pass.ratio);
  const std::int64_t C = d_entries.extent(1);
  const ArenaScope scope = step.scope();
  HADAL_TRY(rotate(step, d_entries.reshaped({blocks.count, 1, C}), blocks.positions, step.rope.compress, true));
  HADAL_TRY(ops::rms_norm_backward(step.stream, {.input = pass.pooled,
                                                 .weight = pass.weights.norm,
                                                 .d_out = d_entries,
                                                 .eps = step.config.rms_norm_eps,
                                                 .d_input = d_entries,
                                                 .d_weight = pass.gradients.norm.codes}));
  const TensorView d_value = step.real(pass.value.shape());
  const TensorView d_gate = step.real(pass.gate.shape());
  HADAL_TRY(ops::compress_backward(step.stream, {.value = pass.value,
                                                 .gate = pass.gate,
                                                 .last_row = blocks.last_row,
                                                 .layout = step.tables.layout,
                                                 .ratio = pass.ratio,
                                                 .overlap = pass.ratio == 4,
                                                 .d_out = d_entries,
                                                 .d_value = d_value,
                                                 .d_gate = d_gate}));
  HADAL_TRY(ops::add_position_bias_backward(
      step.stream, {.positions = step.tables.layout.positions, .d_x = d_gate, .d_bias = pass.gradients.ape.codes}));
  HADAL_TRY(linear_backward(step, x, pass.weights.wkv, pass.gradients.wkv, d_value, d_input, true));
  return linear_backward(step, x, pass.weights.wgate, pass.gradients.wgate, d_gate, d_input, true);
}

/// The indexer's own objective: fills its losses and the gradients of its weights; x and the latent are constants.
Status indexer_backward(Backward& backward, const model::AttentionWeights& weights,
                        const model::AttentionWeights& gradients, const model::LayerState& state, const TensorView& x,
                        const model::LayerRows& rows, const model::AttentionActivations& kept,
                        const LayerLosses& losses) {
  constexpr std::int64_t kRatio = 4;
  Step& step = backward.step;
  const auto& config = step.config;
  const std::int64_t T = step.rows();
  const std::int64_t heads = config.index_n_heads;
  const std::int64_t C = config.index_head_dim;
  const std::int64_t blocks = step.tables.blocks(kRatio).count;
  const ArenaScope scope = step.scope();
  const TensorView d_query = step.real({T, heads, C});
  const TensorView d_head_weights = step.real({T, heads});
  const TensorView d_entries = step.real({blocks, C});
  HADAL_TRY(ops::indexer_loss(step.stream, {.attention_query = kept.query,
                                            .attention_pages = step.pool.page_rows(state.entries),
                                            .log_sum = kept.log_sum,
                                            .attention_scale = 1.0 / std::sqrt(static_cast<double>(config.head_dim)),
                                            .query = kept.indexer.query,
                                            .head_weights = kept.indexer.head_weights,
                                            .weight_scale = kept.indexer.weight_scale,
                                            .pages = step.pool.page_rows(state.index_entries),
                                            .layout = step.tables.layout,
                                            .ratio = kRatio,
                                            .max_entries = step.tables.end_position / kRatio,
                                            .selected = step.attend_all_entries ? TensorView() : kept.indexer.selected,
                                            .chosen = kept.indexer.selected,
                                            .first_block = backward.tables.first_block(kRatio),
                                            .row_weight = backward.loss_weights.indexer,
                                            .loss = losses.indexer,
                                            .captured = losses.captured,
                                            .d_query = d_query,
                                            .d_head_weights = d_head_weights,
                                            .d_entries = d_entries}));
  if (step.profile.quantize_cache) {
    HADAL_TRY(ops::hadamard(step.stream, {.x = d_query.reshaped({T * heads, C})}));
    HADAL_TRY(ops::hadamard(step.stream, {.x = d_entries}));
  }
  HADAL_TRY(rotate(step, d_query, step.tables.layout.positions, step.rope.compress, true));
  HADAL_TRY(linear_backward(step, kept.latent, weights.indexer.wq_b, gradients.indexer.wq_b,
                            d_query.reshaped({T, heads * C}), {}, false));
  HADAL_TRY(linear_backward(step, x, weights.indexer.weights_proj, gradients.indexer.weights_proj, d_head_weights, {},
                            false));
  return compressor_backward(step,
                             {.weights = weights.indexer.compressor,
                              .gradients = gradients.indexer.compressor,
                              .ratio = kRatio,
                              .value = rows.index_value,
                              .gate = rows.index_gate,
                              .pooled = kept.indexer.pooled},
                             x, d_entries, {});
}

}  // namespace

Status attention_backward(Backward& backward, const model::AttentionWeights& weights,
                          const model::AttentionWeights& gradients, const model::LayerState& state, const TensorView& x,
                          const model::LayerRows& rows, const model::AttentionActivations& kept,
                          const LayerLosses& losses, const TensorView& d_out, const TensorView& d_input) {
  Step& step = backward.step;
  const auto& config = step.config;
  const std::int64_t T = step.rows();
  const std::int64_t ratio = weights.compress_ratio;
  const ArenaScope scope = step.scope();
  HADAL_ASSIGN(const TensorView d_output, output_backward(step, weights, gradients, kept, d_out));

  const TensorView d_query = step.real({T, config.num_attention_heads, config.head_dim});
  const TensorView d_keys = step.real({T, config.head_dim});
  const TensorView d_entries =
      ratio == 0 ? TensorView() : step.real({step.tables.blocks(ratio).count, config.head_dim});
  HADAL_TRY(ops::attention_backward(
      step.stream, {.query = kept.query,
                    .step_keys = rows.step_keys,
                    .window_begin = step.tables.window_begin,
                    .window_end = step.tables.window_end,
                    .pages = step.pool.page_rows(state.entries),
                    .selected = ratio == 4 && !step.attend_all_entries ? kept.indexer.selected : TensorView(),
                    .sink = weights.sink,
                    .layout = step.tables.layout,
                    .ratio = ratio,
                    .max_keys = kept.max_keys,
                    .scale = 1.0 / std::sqrt(static_cast<double>(config.head_dim)),
                    .out = kept.output,
                    .log_sum = kept.log_sum,
                    .d_out = d_output,
                    .first_block = ratio == 0 ? TensorView() : backward.tables.first_block(ratio),
                    .d_query = d_query,
                    .d_step_keys = d_keys,
                    .d_entries = d_entries,
                    .d_sink = gradients.sink.codes}));
  HADAL_TRY(query_backward(step, weights, gradients, x, kept, d_query, d_input));
  HADAL_TRY(keys_backward(step, weights, gradients, x, kept, d_keys, d_input));
  if (ratio != 0) {
    HADAL_TRY(compressor_backward(step,
                                  {.weights = weights.compressor,
                                   .gradients = gradients.compressor,
                                   .ratio = ratio,
                                   .value = rows.value,
                                   .gate = rows.gate,
                                   .pooled = kept.pooled},
                                  x, d_entries, d_input));
  }
  if (ratio == 4) return indexer_backward(backward, weights, gradients, state, x, rows, kept, losses);
  return {};
}

}  // namespace hadal::train
