#include "train/loss_head.h"

#include <algorithm>

#include "model/block.h"
#include "ops/cross_entropy.h"
#include "ops/hc_head.h"
#include "ops/rms_norm.h"
#include "train/block_backward.h"

namespace hadal::train {
namespace {

/// Rows of logits that exist at once: enough for efficient products, 50 MB for a vocabulary of 6,144.
constexpr std::int64_t kRows = 2048;

Status piece(model::Step& step, const HeadWeights& weights, const HeadWeights* gradients, const TensorView& streams,
             const TensorView& targets, double weight, const TensorView& loss, const TensorView& d_streams) {
  const auto& config = step.config;
  const std::int64_t T = streams.extent(0);
  const ArenaScope scope = step.scope();
  const TensorView hidden = step.real({T, config.hidden_size});
  const TensorView logits = step.real({T, weights.head.rows()});
  HADAL_ASSIGN(const TensorView normalised,
               model::head(step, weights.hc_head, weights.norm, weights.head, streams, hidden, logits));
  step.note("logits", step.config.num_hidden_layers, logits);
  HADAL_TRY(ops::cross_entropy(step.stream, {.logits = logits,
                                             .targets = targets,
                                             .weight = weight,
                                             .loss = loss,
                                             .d_logits = gradients == nullptr ? TensorView() : logits}));
  if (gradients == nullptr) return {};
  const TensorView d_hidden = step.real({T, config.hidden_size});
  HADAL_TRY(linear_backward(step, normalised, weights.head, gradients->head, logits, d_hidden, false));
  HADAL_TRY(ops::rms_norm_backward(step.stream, {.input = hidden,
                                                 .weight = weights.norm,
                                                 .d_out = d_hidden,
                                                 .eps = config.rms_norm_eps,
                                                 .d_input = d_hidden,
                                                 .d_weight = gradients->norm.codes}));
  return ops::hc_head_backward(step.stream, {.streams = streams,
                                             .fn = weights.hc_head.fn,
                                             .base = weights.hc_head.base,
                                             .scale = weights.hc_head.scale,
                                             .d_out = d_hidden,
                                             .norm_eps = config.rms_norm_eps,
                                             .hc_eps = config.hc_eps,
                                             .d_streams = d_streams,
                                             .d_fn = gradients->hc_head.fn.codes,
                                             .d_base = gradients->hc_head.base.codes,
                                             .d_scale = gradients->hc_head.scale.codes});
}

}  // namespace

Status loss_head(model::Step& step, const HeadWeights& weights, const HeadWeights* gradients, const TensorView& streams,
                 const TensorView& targets, double weight, const TensorView& loss, const TensorView& d_streams) {
  const std::int64_t T = streams.extent(0);
  for (std::int64_t begin = 0; begin < T; begin += kRows) {
    const std::int64_t rows = std::min(kRows, T - begin);
    HADAL_TRY(piece(step, weights, gradients, streams.rows(begin, rows), targets.rows(begin, rows), weight,
                    loss.rows(begin, rows), gradients == nullptr ? TensorView() : d_streams.rows(begin, rows)));
  }
  return {};
}

}  // namespace hadal::train
