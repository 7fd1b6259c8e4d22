#include "train/drafter_backward.h"

#include "ops/add.h"
#include "ops/embedding.h"
#include "ops/previous_rows.h"
#include "ops/rms_norm.h"
#include "train/block_backward.h"

namespace hadal::train {
namespace {

/// sum over streams of x [T, n, D] real, streams ascending -> [T, D].
Result<TensorView> sum_streams(model::Step& step, const TensorView& x) {
  const std::int64_t T = x.extent(0);
  const std::int64_t n = x.extent(1);
  const std::int64_t D = x.extent(2);
  const TensorView rows = x.reshaped({T, n * D});
  if (n == 1) return rows;
  const TensorView sum = step.real({T, D});
  for (std::int64_t stream = 1; stream < n; ++stream) {
    HADAL_TRY(ops::add(
        step.stream,
        {.a = stream == 1 ? rows.columns(0, D) : sum, .b = rows.columns(stream * D, D), .repeat = 1, .out = sum}));
  }
  return sum;
}

}  // namespace

Status mtp_input_backward(model::Step& step, const model::DrafterWeights& weights,
                          const model::DrafterWeights& gradients, const ops::StepLayout& layout,
                          const TensorView& before, const model::MtpInput& kept, const TensorView& d_input,
                          const TensorView& d_streams) {
  const auto& config = step.config;
  const std::int64_t T = step.rows();
  const std::int64_t n = config.hc_mult;
  const std::int64_t D = config.hidden_size;
  const ArenaScope scope = step.scope();

  HADAL_ASSIGN(const TensorView d_projected, sum_streams(step, d_input));
  const TensorView d_token = step.real({T, D});
  HADAL_TRY(linear_backward(step, kept.token, weights.e_proj, gradients.e_proj, d_projected, d_token, false));
  HADAL_TRY(ops::rms_norm_backward(step.stream, {.input = kept.embedded,
                                                 .weight = weights.enorm,
                                                 .d_out = d_token,
                                                 .eps = config.rms_norm_eps,
                                                 .d_input = d_token,
                                                 .d_weight = gradients.enorm.codes}));
  HADAL_TRY(ops::embedding_backward(
      step.stream,
      {.tokens = step.tables.tokens, .d_out = d_token.reshaped({T, 1, D}), .d_table = gradients.embed.codes}));

  const TensorView d_hidden = step.real({T * n, D});
  HADAL_TRY(linear_backward(step, kept.hidden, weights.h_proj, gradients.h_proj, d_input.reshaped({T * n, D}), d_hidden,
                            false));
  HADAL_TRY(ops::rms_norm_backward(step.stream, {.input = before.reshaped({T * n, D}),
                                                 .weight = weights.hnorm,
                                                 .d_out = d_hidden,
                                                 .eps = config.rms_norm_eps,
                                                 .d_input = d_hidden,
                                                 .d_weight = gradients.hnorm.codes}));
  return ops::previous_rows_backward(
      step.stream,
      {.d_out = d_hidden.reshaped({T, n * D}), .layout = layout, .d_rows = d_streams.reshaped({T, n * D})});
}

}  // namespace hadal::train
