#include "model/step.h"

#include <fmt/core.h>

#include "ops/linear.h"
#include "ops/round_rows.h"

namespace hadal::model {

Result<TensorView> Step::product_input(const TensorView& x) {
  if (x.type() == profile.product) return x;
  const TensorView rounded = product({x.extent(0), x.extent(1)});
  HADAL_TRY(ops::round_rows(stream, {.input = x, .out = rounded, .rounding = ops::Rounding::kNone, .channels = 0}));
  return rounded;
}

Result<TensorView> Step::quantized_input(const TensorView& x, const ops::Weight& weight) {
  if (!profile.quantize_linear_inputs || !has_quantized_inputs(weight)) return x;
  const TensorView rounded = arena.allocate(x.type(), {x.extent(0), x.extent(1)});
  HADAL_TRY(ops::round_rows(
      stream, {.input = x, .out = rounded, .rounding = ops::Rounding::kFp8Block128, .channels = x.extent(1)}));
  return rounded;
}

Status Step::linear(const TensorView& x, const ops::Weight& weight, const TensorView& out) {
  HADAL_ASSIGN(const TensorView quantized, quantized_input(x, weight));
  HADAL_ASSIGN(const TensorView input, product_input(quantized));
  return ops::linear(stream, {.input = input, .weight = weight, .out = out});
}

Status check_sequences(const StepRequest& request, std::int64_t vocab_size, std::int64_t max_tokens) {
  for (const StepSequence& sequence : request.sequences) {
    const std::int64_t begin = sequence.state->length();
    const auto count = static_cast<std::int64_t>(sequence.tokens.size());
    if (count == 0) return fail(ErrorCode::kInvalidArgument, "a sequence of a step has no new tokens");
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t token = sequence.tokens[static_cast<std::size_t>(i)];
      if (token < 0 || token >= vocab_size) {
        return fail(
            ErrorCode::kInvalidArgument,
            fmt::format("token id {} at position {} is outside the vocabulary of {}", token, begin + i, vocab_size));
      }
    }
    if (begin + count > max_tokens) {
      return fail(
          ErrorCode::kResourceExhausted,
          fmt::format("a sequence would reach {} tokens, but memory was planned for {}", begin + count, max_tokens));
    }
  }
  return {};
}

}  // namespace hadal::model
