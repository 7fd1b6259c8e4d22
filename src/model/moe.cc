#include "model/moe.h"

#include "ops/add.h"
#include "ops/gate.h"
#include "ops/routed_experts.h"
#include "ops/swiglu.h"

namespace hadal::model {
namespace {

Status route(Step& step, const MoeWeights& weights, const TensorView& x, MoeActivations& kept) {
  const auto& config = step.config;
  const std::int64_t T = step.rows();
  kept.logits = step.real({T, config.n_routed_experts});
  HADAL_TRY(step.linear(x, weights.gate, kept.logits));
  kept.experts = step.i32({T, config.num_experts_per_tok});
  kept.weights = step.real({T, config.num_experts_per_tok});
  return ops::gate(step.stream, {.logits = kept.logits,
                                 .bias = weights.bias,
                                 .token_experts = weights.token_experts,
                                 .tokens = step.tables.tokens,
                                 .routed_scaling_factor = config.routed_scaling_factor,
                                 .normalize = config.norm_topk_prob,
                                 .experts = kept.experts,
                                 .weights = kept.weights});
}

/// w2 (swiglu(w1 x, w3 x)) -> out [T, hidden_size].
Status shared_expert(Step& step, const MoeWeights& weights, const TensorView& x, MoeActivations& kept,
                     const TensorView& out) {
  const std::int64_t T = step.rows();
  const std::int64_t width = weights.shared_w1.rows();
  kept.shared_gate = step.real({T, width});
  kept.shared_up = step.real({T, width});
  HADAL_TRY(step.linear(x, weights.shared_w1, kept.shared_gate));
  HADAL_TRY(step.linear(x, weights.shared_w3, kept.shared_up));
  kept.shared_hidden = step.product({T, width});
  HADAL_TRY(ops::swiglu(
      step.stream,
      {.gate = kept.shared_gate, .up = kept.shared_up, .limit = step.config.swiglu_limit, .out = kept.shared_hidden}));
  return step.linear(kept.shared_hidden, weights.shared_w2, out);
}

}  // namespace

Result<MoeActivations> moe(Step& step, const MoeWeights& weights, std::int64_t layer, const TensorView& x,
                           const TensorView& out) {
  MoeActivations kept;
  HADAL_TRY(route(step, weights, x, kept));
  step.note("experts", layer, kept.experts);
  step.note("expert_weights", layer, kept.weights);

  HADAL_ASSIGN(const TensorView input, step.quantized_input(x, weights.w1.front()));
  const bool quantize = step.profile.quantize_linear_inputs && has_quantized_inputs(weights.w2.front());
  HADAL_TRY(ops::routed_experts(step.stream, {.input = input,
                                              .experts = kept.experts,
                                              .weights = kept.weights,
                                              .table = weights.experts(),
                                              .swiglu_limit = step.config.swiglu_limit,
                                              .rounding = quantize ? ops::Rounding::kFp8Block128 : ops::Rounding::kNone,
                                              .out = out}));
  const TensorView shared = step.real({step.rows(), step.config.hidden_size});
  HADAL_TRY(shared_expert(step, weights, x, kept, shared));
  HADAL_TRY(ops::add(step.stream, {.a = out, .b = shared, .repeat = 1, .out = out}));
  return kept;
}

}  // namespace hadal::model
