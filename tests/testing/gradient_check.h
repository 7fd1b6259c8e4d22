#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "tensor/dtype.h"

namespace hadal::testing {

/// One input of a scalar function L, and the gradient dL/dinput that an operator claims.
struct GradientCase {
  std::string name;              // "linear_backward d_input": for messages and the record
  DType type;                    // as the forward operator stores the input: f64, or f32 for weights
  std::vector<double> values;    // where the gradient is taken, exact in `type`
  std::vector<double> gradient;  // claimed, like values
  /// L in double at other values (exact in `type`), everything else unchanged.
  std::function<double(const std::vector<double>&)> loss;
  double step = 0x1p-10;  // kinks of L lie further than twice this from every value
  int samples = 24;       // entries that are looked at: the largest of the gradient, and others from a fixed seed
};

/// sum_i a_i b_i: the loss <d_out, out> of an operator whose result is `out`.
[[nodiscard]] double inner_product(std::span<const double> a, std::span<const double> b);

/// max |claimed - numeric| over max |numeric| of the sampled entries; 0 if all claimed and numeric ones are 0. The
/// numeric derivative is that of the polynomial through five points, with the steps that `type` really takes: its own
/// error is about step^4 times the fifth derivative plus 1e-15 |L| / step.
[[nodiscard]] double gradient_error(const GradientCase& gradient);

/// Expects gradient_error() <= tolerance, records it as a property of the running test and prints it.
void expect_gradient(const GradientCase& gradient, double tolerance = 1e-6);

}  // namespace hadal::testing
