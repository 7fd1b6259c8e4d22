#include "model/moe.h"

#include "ops/add.h"
#include "ops/gate.h"
#include "ops/routed_experts.h"
#include "ops/swiglu.h"

namespace hadal::model {
namespace {

struct Routing {
  TensorView experts;  // [T, K] i32, ascending
  TensorView weights;  // [T, K] real
};

Result<Routing> route(Step& step, const MoeWeights& weights, const TensorView& x) {
  const auto& config = step.config;
  const std::int64_t T = step.rows();
  const TensorView logits = step.real({T, config.n_routed_experts});
  HADAL_TRY(step.linear(x, weights.gate, logits));
  const Routing routing{.experts = step.i32({T, config.num_experts_per_tok}),
                        .weights = step.real({T, config.num_experts_per_tok})};
  HADAL_TRY(ops::gate(step.stream, {.logits = logits,
                                    .bias = weights.bias,
                                    .token_experts = weights.token_experts,
                                    .tokens = step.tables.tokens,
                                    .routed_scaling_factor = config.routed_scaling_factor,
                                    .normalize = config.norm_topk_prob,
                                    .experts = routing.experts,
                                    .weights = routing.weights}));
  return routing;
}

/// w2 (swiglu(w1 x, w3 x)) -> out [T, hidden_size].
Status shared_expert(Step& step, const MoeWeights& weights, const TensorView& x, const TensorView& out) {
  const std::int64_t T = step.rows();
  const std::int64_t width = weights.shared_w1.rows();
  const TensorView gate = step.real({T, width});
  const TensorView up = step.real({T, width});
  HADAL_TRY(step.linear(x, weights.shared_w1, gate));
  HADAL_TRY(step.linear(x, weights.shared_w3, up));
  const TensorView hidden = step.product({T, width});
  HADAL_TRY(ops::swiglu(step.stream, {.gate = gate, .up = up, .limit = step.config.swiglu_limit, .out = hidden}));
  return step.linear(hidden, weights.shared_w2, out);
}

}  // namespace

Status moe(Step& step, const MoeWeights& weights, std::int64_t layer, const TensorView& x, const TensorView& out) {
  HADAL_ASSIGN(const Routing routing, route(step, weights, x));
  step.note("experts", layer, routing.experts);
  step.note("expert_weights", layer, routing.weights);

  HADAL_ASSIGN(const TensorView input, step.quantized_input(x, weights.w1.front()));
  const bool quantize = step.profile.quantize_linear_inputs && has_quantized_inputs(weights.w2.front());
  HADAL_TRY(ops::routed_experts(step.stream, {.input = input,
                                              .experts = routing.experts,
                                              .weights = routing.weights,
                                              .table = weights.experts(),
                                              .swiglu_limit = step.config.swiglu_limit,
                                              .rounding = quantize ? ops::Rounding::kFp8Block128 : ops::Rounding::kNone,
                                              .out = out}));
  const TensorView shared = step.real({step.rows(), step.config.hidden_size});
  HADAL_TRY(shared_expert(step, weights, x, shared));
  return ops::add(step.stream, {.a = out, .b = shared, .repeat = 1, .out = out});
}

}  // namespace hadal::model
