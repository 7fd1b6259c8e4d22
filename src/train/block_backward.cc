#include "train/block_backward.h"

#include "ops/gate.h"
#include "ops/hc_post.h"
#include "ops/hc_pre.h"
#include "ops/linear.h"
#include "ops/rms_norm.h"
#include "ops/routed_experts.h"
#include "ops/swiglu.h"
#include "train/attention_backward.h"

namespace hadal::train {
namespace {

using model::Step;

/// The shared expert backwards: added to d_input.
Status shared_expert_backward(Step& step, const model::MoeWeights& weights, const model::MoeWeights& gradients,
                              const TensorView& x, const model::MoeActivations& kept, const TensorView& d_out,
                              const TensorView& d_input) {
  const ArenaScope scope = step.scope();
  const TensorView d_hidden = step.real(kept.shared_gate.shape());
  HADAL_TRY(linear_backward(step, kept.shared_hidden, weights.shared_w2, gradients.shared_w2, d_out, d_hidden, false));
  const TensorView d_gate = step.real(kept.shared_gate.shape());
  const TensorView d_up = d_hidden;
  HADAL_TRY(ops::swiglu_backward(step.stream, {.gate = kept.shared_gate,
                                               .up = kept.shared_up,
                                               .limit = step.config.swiglu_limit,
                                               .d_out = d_hidden,
                                               .d_gate = d_gate,
                                               .d_up = d_up}));
  HADAL_TRY(linear_backward(step, x, weights.shared_w1, gradients.shared_w1, d_gate, d_input, true));
  return linear_backward(step, x, weights.shared_w3, gradients.shared_w3, d_up, d_input, true);
}

/// The mixture backwards: d_out [T, hidden_size] -> d_input [T, hidden_size], overwritten.
Status moe_backward(Backward& backward, const model::MoeWeights& weights, const model::MoeWeights& gradients,
                    const TensorView& x, const model::MoeActivations& kept, const LayerLosses& losses,
                    const TensorView& d_out, const TensorView& d_input) {
  Step& step = backward.step;
  const ArenaScope scope = step.scope();
  const TensorView d_weights = step.real(kept.weights.shape());
  HADAL_TRY(ops::routed_experts_backward(step.stream, {.input = x,
                                                       .experts = kept.experts,
                                                       .weights = kept.weights,
                                                       .table = weights.experts(),
                                                       .swiglu_limit = step.config.swiglu_limit,
                                                       .d_out = d_out,
                                                       .d_input = d_input,
                                                       .d_weights = d_weights,
                                                       .gradients = gradients.experts()}));
  const TensorView d_logits = step.real(kept.logits.shape());
  HADAL_TRY(ops::gate_backward(step.stream, {.logits = kept.logits,
                                             .experts = kept.experts,
                                             .d_weights = d_weights,
                                             .routed_scaling_factor = step.config.routed_scaling_factor,
                                             .normalize = step.config.norm_topk_prob,
                                             .sequence = step.tables.layout.sequence,
                                             .sequences = step.tables.sequences,
                                             .balance_weight = backward.loss_weights.balance,
                                             .balance_loss = losses.balance,
                                             .d_logits = d_logits}));
  HADAL_TRY(linear_backward(step, x, weights.gate, gradients.gate, d_logits, d_input, true));
  return shared_expert_backward(step, weights, gradients, x, kept, d_out, d_input);
}

/// One passage through a hyper-connection on its way back.
struct Passage {
  TensorView d_output;        // [T, hidden_size] real: at the sub-layer's result
  TensorView d_input;         // [T, hidden_size] real: for the gradient at the sub-layer's normalised input
  TensorView d_post, d_comb;  // like the connection's
};

/// The way out of the sub-layer: d_streams becomes the part of the gradient that passes beside it.
Result<Passage> leave_backward(Step& step, const model::Connection& kept, const TensorView& d_streams) {
  const Passage passage{.d_output = step.real(kept.output.shape()),
                        .d_input = step.real(kept.output.shape()),
                        .d_post = step.real(kept.post.shape()),
                        .d_comb = step.real(kept.comb.shape())};
  HADAL_TRY(ops::hc_post_backward(step.stream, {.sublayer_output = kept.output,
                                                .post = kept.post,
                                                .comb = kept.comb,
                                                .streams = kept.streams,
                                                .d_streams_out = d_streams,
                                                .d_sublayer_output = passage.d_output,
                                                .d_post = passage.d_post,
                                                .d_comb = passage.d_comb,
                                                .d_streams = d_streams}));
  return passage;
}

/// The way into it: adds what comes through the sub-layer and the mixing coefficients to d_streams.
Status enter_backward(Step& step, const model::HyperConnectionWeights& weights,
                      const model::HyperConnectionWeights& gradients, const ops::Weight& norm,
                      const ops::Weight& norm_gradient, const model::Connection& kept, const Passage& passage,
                      const TensorView& d_streams) {
  const auto& config = step.config;
  HADAL_TRY(ops::rms_norm_backward(step.stream, {.input = kept.mixed,
                                                 .weight = norm,
                                                 .d_out = passage.d_input,
                                                 .eps = config.rms_norm_eps,
                                                 .d_input = passage.d_input,
                                                 .d_weight = norm_gradient.codes}));
  return ops::hc_pre_backward(step.stream, {.streams = kept.streams,
                                            .fn = weights.fn,
                                            .base = weights.base,
                                            .scale = weights.scale,
                                            .d_input = passage.d_input,
                                            .d_post = passage.d_post,
                                            .d_comb = passage.d_comb,
                                            .norm_eps = config.rms_norm_eps,
                                            .hc_eps = config.hc_eps,
                                            .sinkhorn_iterations = config.hc_sinkhorn_iters,
                                            .d_streams = d_streams,
                                            .d_fn = gradients.fn.codes,
                                            .d_base = gradients.base.codes,
                                            .d_scale = gradients.scale.codes});
}

}  // namespace

Status linear_backward(Step& step, const TensorView& x, const ops::Weight& weight, const ops::Weight& gradient,
                       const TensorView& d_out, const TensorView& d_input, bool accumulate) {
  const ArenaScope scope = step.scope();
  HADAL_ASSIGN(const TensorView input, step.product_input(x));
  return ops::linear_backward(step.stream, {.input = input,
                                            .weight = weight,
                                            .d_out = d_out,
                                            .d_input = d_input,
                                            .accumulate_input = accumulate,
                                            .d_weight = gradient.codes});
}

Status block_backward(Backward& backward, const model::LayerWeights& weights, const model::LayerWeights& gradients,
                      const model::LayerState& state, const model::LayerRows& rows, const model::BlockActivations& kept,
                      const LayerLosses& losses, const TensorView& d_streams) {
  Step& step = backward.step;
  {
    const ArenaScope scope = step.scope();
    const model::Connection& connection = kept.ffn_connection;
    HADAL_ASSIGN(const Passage passage, leave_backward(step, connection, d_streams));
    HADAL_TRY(moe_backward(backward, weights.moe, gradients.moe, connection.input, kept.moe, losses, passage.d_output,
                           passage.d_input));
    HADAL_TRY(enter_backward(step, weights.hc_ffn, gradients.hc_ffn, weights.ffn_norm, gradients.ffn_norm, connection,
                             passage, d_streams));
  }
  const ArenaScope scope = step.scope();
  const model::Connection& connection = kept.attention_connection;
  HADAL_ASSIGN(const Passage passage, leave_backward(step, connection, d_streams));
  HADAL_TRY(attention_backward(backward, weights.attention, gradients.attention, state, connection.input, rows,
                               kept.attention, losses, passage.d_output, passage.d_input));
  return enter_backward(step, weights.hc_attention, gradients.hc_attention, weights.attention_norm,
                        gradients.attention_norm, connection, passage, d_streams);
}

}  // namespace hadal::train
