#include "testing/gradient_check.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "testing/compare.h"

namespace hadal::testing {
namespace {

/// L = sum_i exp(x_i / 2) + x_0 x_1: dL/dx_i = exp(x_i / 2) / 2 (+ the other of the first two).
GradientCase exponentials(DType type, std::int64_t count) {
  GradientCase gradient{.name = "exponentials",
                        .type = type,
                        .values = RandomValues(5).normal(count, type),
                        .gradient = {},
                        .loss = [](const std::vector<double>& x) {
                          double sum = x[0] * x[1];
                          for (const double value : x) sum += std::exp(value / 2);
                          return sum;
                        }};
  for (const double value : gradient.values) gradient.gradient.push_back(std::exp(value / 2) / 2);
  gradient.gradient[0] += gradient.values[1];
  gradient.gradient[1] += gradient.values[0];
  return gradient;
}

TEST(GradientCheck, AcceptsTheRightGradientOfBothTypes) {
  for (const DType type : {DType::kF64, DType::kF32}) {
    expect_gradient(exponentials(type, 10), 1e-10);
    expect_gradient(exponentials(type, 200), 1e-9);
  }
}

TEST(GradientCheck, SeesOneWrongEntry) {
  for (const DType type : {DType::kF64, DType::kF32}) {
    GradientCase gradient = exponentials(type, 20);
    gradient.gradient[13] += 1e-5;
    EXPECT_GT(gradient_error(gradient), 1e-6);
    gradient.gradient[13] = std::numeric_limits<double>::quiet_NaN();
    EXPECT_FALSE(gradient_error(gradient) <= 1e-6);
  }
}

TEST(GradientCheck, ZeroIsComparedWithZero) {
  GradientCase gradient{.name = "constant",
                        .type = DType::kF64,
                        .values = {1, 2, 3},
                        .gradient = {0, 0, 0},
                        .loss = [](const std::vector<double>&) { return 4.0; }};
  EXPECT_EQ(gradient_error(gradient), 0);
  gradient.gradient[1] = 1e-9;
  EXPECT_GT(gradient_error(gradient), 1);
}

}  // namespace
}  // namespace hadal::testing
