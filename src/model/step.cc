#include "model/step.h"

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

}  // namespace hadal::model
