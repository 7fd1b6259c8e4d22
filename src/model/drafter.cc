#include "model/drafter.h"

#include "model/block.h"
#include "ops/add.h"
#include "ops/embedding.h"
#include "ops/gather_rows.h"
#include "ops/linear.h"
#include "ops/rms_norm.h"

namespace hadal::model {

Result<MtpInput> mtp_input(Step& step, const DrafterWeights& weights, const TensorView& before) {
  const auto& config = step.config;
  const std::int64_t T = step.rows();
  const std::int64_t n = config.hc_mult;
  const std::int64_t D = config.hidden_size;
  MtpInput kept;
  kept.streams = step.real({T, n, D});
  const TensorView streams = kept.streams.reshaped({T * n, D});
  const ArenaScope scope = step.scope();

  kept.embedded = step.real({T, D});
  HADAL_TRY(ops::embedding(
      step.stream, {.tokens = step.tables.tokens, .table = weights.embed, .out = kept.embedded.reshaped({T, 1, D})}));
  kept.token = step.product({T, D});
  HADAL_TRY(ops::rms_norm(
      step.stream, {.input = kept.embedded, .weight = weights.enorm, .out = kept.token, .eps = config.rms_norm_eps}));
  const TensorView projected = step.real({T, D});
  HADAL_TRY(step.linear(kept.token, weights.e_proj, projected));
  kept.hidden = step.product({T * n, D});
  HADAL_TRY(ops::rms_norm(
      step.stream,
      {.input = before.reshaped({T * n, D}), .weight = weights.hnorm, .out = kept.hidden, .eps = config.rms_norm_eps}));
  HADAL_TRY(step.linear(kept.hidden, weights.h_proj, streams));
  HADAL_TRY(ops::add(step.stream, {.a = streams, .b = projected, .repeat = n, .out = streams}));
  return kept;
}

Status mtp_context(Step& step, const DrafterWeights& weights, const TensorView& input, const LayerRows& rows) {
  const ArenaScope scope(step.arena);
  const LayerWeights& layer = weights.layers.front();
  HADAL_ASSIGN(const TensorView x, attention_input(step, layer, input));
  HADAL_TRY(make_keys(step, layer.attention, x, rows.keys));
  return {};
}

Status dspark_context(Step& step, const DrafterWeights& weights, const TensorView& target_hidden,
                      const std::vector<LayerRows>& stages) {
  const ArenaScope scope(step.arena);
  const auto& config = step.config;
  const TensorView projected = step.real({step.rows(), config.hidden_size});
  HADAL_TRY(step.linear(target_hidden, weights.main_proj, projected));
  const TensorView main_x = step.product({step.rows(), config.hidden_size});
  HADAL_TRY(ops::rms_norm(
      step.stream, {.input = projected, .weight = weights.main_norm, .out = main_x, .eps = config.rms_norm_eps}));
  step.note("main_x", config.num_hidden_layers, main_x);
  for (std::size_t stage = 0; stage < stages.size(); ++stage) {
    HADAL_TRY(make_keys(step, weights.layers[stage].attention, main_x, stages[stage].keys));
    step.note("context_kv", config.num_hidden_layers + static_cast<std::int64_t>(stage), stages[stage].keys);
  }
  return {};
}

Result<DSparkBlock> dspark_block(Step& step, const DrafterWeights& weights, const StateLayout& layout,
                                 const std::vector<LayerRows>& stages) {
  const auto& config = step.config;
  const std::int64_t rows = step.rows();
  const DSparkBlock result{.hidden = step.real({rows, config.hidden_size}),
                           .base_logits = step.real({rows, weights.head.rows()})};
  const ArenaScope scope(step.arena);
  const TensorView streams = step.real({rows, config.hc_mult, config.hidden_size});
  HADAL_TRY(ops::embedding(step.stream, {.tokens = step.tables.tokens, .table = weights.embed, .out = streams}));
  for (std::size_t stage = 0; stage < weights.layers.size(); ++stage) {
    HADAL_TRY(block(step, weights.layers[stage], layout.drafter_layers[stage],
                    config.num_hidden_layers + static_cast<std::int64_t>(stage), stages[stage], streams));
  }
  HADAL_TRY(head(step, weights.hc_head, weights.norm, weights.head, streams, result.hidden, result.base_logits));
  step.note("hidden", config.num_hidden_layers, result.hidden);
  step.note("base_logits", config.num_hidden_layers, result.base_logits);
  return result;
}

Result<DSparkChoice> dspark_choice(Step& step, const DrafterWeights& weights, const TensorView& previous,
                                   const TensorView& hidden, const TensorView& base_logits,
                                   const TensorView& identity) {
  const std::int64_t S = previous.extent(0);
  const std::int64_t D = step.config.hidden_size;
  const std::int64_t rank = weights.markov_w1.columns();
  const DSparkChoice choice{.logits = step.real({S, weights.markov_w2.rows()}), .confidence = step.real({S, 1})};
  const ArenaScope scope(step.arena);

  const TensorView e = step.real({S, rank});
  HADAL_TRY(
      ops::embedding(step.stream, {.tokens = previous, .table = weights.markov_w1, .out = e.reshaped({S, 1, rank})}));
  // Markov factors and confidence take unrounded inputs in every profile (spec/dspark.md 3.4).
  HADAL_TRY(ops::linear(step.stream, {.input = e, .weight = weights.markov_w2, .out = choice.logits}));
  HADAL_TRY(ops::add(step.stream, {.a = choice.logits, .b = base_logits, .repeat = 1, .out = choice.logits}));

  const TensorView both = step.real({S, D + rank});  // [h_i ; e_i]
  HADAL_TRY(ops::gather_rows(step.stream, {.input = hidden, .index = identity, .out = both.columns(0, D)}));
  HADAL_TRY(ops::gather_rows(step.stream, {.input = e, .index = identity, .out = both.columns(D, rank)}));
  HADAL_TRY(ops::linear(step.stream, {.input = both, .weight = weights.confidence_proj, .out = choice.confidence}));
  return choice;
}

}  // namespace hadal::model
