#include "model/block.h"

#include "model/moe.h"
#include "ops/hc_head.h"
#include "ops/hc_post.h"
#include "ops/hc_pre.h"
#include "ops/rms_norm.h"

namespace hadal::model {
namespace {

Result<Connection> enter(Step& step, const HyperConnectionWeights& weights, const ops::Weight& norm,
                         const TensorView& streams) {
  const auto& config = step.config;
  const std::int64_t T = streams.extent(0);
  const std::int64_t n = config.hc_mult;
  const Connection connection{.streams = step.in_place_of(streams),
                              .mixed = step.real({T, config.hidden_size}),
                              .input = step.product({T, config.hidden_size}),
                              .post = step.real({T, n}),
                              .comb = step.real({T, n, n}),
                              .output = step.real({T, config.hidden_size})};
  // hc_post changes the streams in place.
  if (step.keep_activations) step.stream.copy(connection.streams.bytes(), streams.bytes(), streams.byte_size());
  HADAL_TRY(ops::hc_pre(step.stream, {.streams = streams,
                                      .fn = weights.fn,
                                      .base = weights.base,
                                      .scale = weights.scale,
                                      .input = connection.mixed,
                                      .post = connection.post,
                                      .comb = connection.comb,
                                      .norm_eps = config.rms_norm_eps,
                                      .hc_eps = config.hc_eps,
                                      .sinkhorn_iterations = config.hc_sinkhorn_iters}));
  HADAL_TRY(ops::rms_norm(
      step.stream, {.input = connection.mixed, .weight = norm, .out = connection.input, .eps = config.rms_norm_eps}));
  return connection;
}

Status leave(Step& step, const Connection& connection, const TensorView& streams) {
  return ops::hc_post(
      step.stream,
      {.sublayer_output = connection.output, .post = connection.post, .comb = connection.comb, .streams = streams});
}

}  // namespace

Result<BlockActivations> block(Step& step, const LayerWeights& weights, const LayerState& state, std::int64_t layer,
                               const LayerRows& rows, const TensorView& streams) {
  BlockActivations kept;
  step.note("input", layer, streams);
  {
    const ArenaScope scope = step.scope();
    Connection& connection = kept.attention_connection;
    HADAL_ASSIGN(connection, enter(step, weights.hc_attention, weights.attention_norm, streams));
    HADAL_ASSIGN(kept.attention,
                 attention(step, weights.attention, state, layer, connection.input, rows, connection.output));
    HADAL_TRY(leave(step, connection, streams));
  }
  step.note("after_attention", layer, streams);
  {
    const ArenaScope scope = step.scope();
    Connection& connection = kept.ffn_connection;
    HADAL_ASSIGN(connection, enter(step, weights.hc_ffn, weights.ffn_norm, streams));
    HADAL_ASSIGN(kept.moe, moe(step, weights.moe, layer, connection.input, connection.output));
    HADAL_TRY(leave(step, connection, streams));
  }
  step.note("output", layer, streams);
  return kept;
}

Result<TensorView> attention_input(Step& step, const LayerWeights& weights, const TensorView& streams) {
  HADAL_ASSIGN(const Connection connection, enter(step, weights.hc_attention, weights.attention_norm, streams));
  return connection.input;
}

Result<TensorView> head(Step& step, const HyperConnectionWeights& hc_head, const ops::Weight& norm,
                        const ops::Weight& head_weight, const TensorView& streams, const TensorView& hidden,
                        const TensorView& logits) {
  const auto& config = step.config;
  HADAL_TRY(ops::hc_head(step.stream, {.streams = streams,
                                       .fn = hc_head.fn,
                                       .base = hc_head.base,
                                       .scale = hc_head.scale,
                                       .out = hidden,
                                       .norm_eps = config.rms_norm_eps,
                                       .hc_eps = config.hc_eps}));
  const TensorView normalised = step.product({streams.extent(0), config.hidden_size});
  HADAL_TRY(
      ops::rms_norm(step.stream, {.input = hidden, .weight = norm, .out = normalised, .eps = config.rms_norm_eps}));
  HADAL_TRY(step.linear(normalised, head_weight, logits));
  return normalised;
}

}  // namespace hadal::model
