#include "ops/rms_norm.h"

#include <cmath>
#include <limits>

#include "ops/backend_cases.h"
#include "testing/compare.h"

namespace hadal::ops {
namespace {

HADAL_BACKEND_SUITE(RmsNormTest);

std::vector<double> normed(const std::vector<double>& input, const std::vector<double>& weight, std::size_t channels,
                           double eps) {
  std::vector<double> out;
  for (std::size_t begin = 0; begin < input.size(); begin += channels) {
    double squares = 0;
    for (std::size_t c = 0; c < channels; ++c) squares += input[begin + c] * input[begin + c];
    const double rms = std::sqrt(squares / static_cast<double>(channels) + eps);
    for (std::size_t c = 0; c < channels; ++c) {
      out.push_back((weight.empty() ? 1 : weight[c]) * input[begin + c] / rms);
    }
  }
  return out;
}

TEST_P(RmsNormTest, EveryTypeWeightAndWidth) {
  testing::RandomValues random(111);
  for (const DType type : product_types()) {
    const DType sums = type == DType::kF64 ? DType::kF64 : DType::kF32;
    for (const std::int64_t channels : {1, 7, 15, 16, 17, 64, 129, 1024}) {
      // A sum of squares has a relative error of C eps, the root half of it.
      const double relative = static_cast<double>(channels / 2 + 6) * testing::epsilon(sums);
      for (const DType weight_type : {DType::kF32, DType::kBf16}) {
        const std::vector<double> input = random.normal(4 * channels, type, 5);
        const std::vector<double> weight = random.normal(channels, weight_type);
        for (const DType out_type : {sums, DType::kBf16}) {
          const TensorView out = runner_.empty(out_type, {4, channels});
          runner_.run(rms_norm, {.input = runner_.tensor(type, {4, channels}, input, 11),
                                 .weight = runner_.weight(weight_type, {channels}, weight),
                                 .out = out,
                                 .eps = 1e-6});
          testing::expect_near(runner_.values(out), normed(input, weight, static_cast<std::size_t>(channels), 1e-6), 0,
                               relative + (out_type == DType::kBf16 ? 0x1p-8 : 0));
        }
      }
    }
  }
}

TEST_P(RmsNormTest, WithoutWeightAndInPlace) {
  testing::RandomValues random(112);
  for (const DType type : real_types()) {
    const std::vector<double> input = random.normal(6 * 32, type);
    const TensorView x = runner_.tensor(type, {6, 32}, input);
    runner_.run(rms_norm, {.input = x, .weight = {}, .out = x, .eps = 1e-6});
    testing::expect_near(runner_.values(x), normed(input, {}, 32, 1e-6), 0, 24 * testing::epsilon(type));
  }
}

TEST_P(RmsNormTest, ZeroTinyAndNanRowsStayByThemselves) {
  for (const DType type : real_types()) {
    std::vector<double> input(4 * 16, 1.0);
    for (std::size_t c = 0; c < 16; ++c) {
      input[c] = 0;
      input[16 + c] = 1e-30;  // the square underflows in f32: eps alone decides
    }
    input[32] = std::numeric_limits<double>::quiet_NaN();
    const TensorView out = runner_.empty(type, {4, 16});
    runner_.run(rms_norm, {.input = runner_.tensor(type, {4, 16}, input), .weight = {}, .out = out, .eps = 1e-6});
    const std::vector<double> values = runner_.values(out);
    for (std::size_t c = 0; c < 16; ++c) {
      EXPECT_EQ(values[c], 0);
      EXPECT_NEAR(values[16 + c], 1e-27, 1e-33);
      EXPECT_TRUE(std::isnan(values[32 + c]));
      EXPECT_NEAR(values[48 + c], 1 / std::sqrt(1 + 1e-6), 1e-6);
    }
  }
}

TEST_P(RmsNormTest, BitsDoNotDependOnTheNumberOfRows) {
  testing::RandomValues random(113);
  for (const DType type : product_types()) {
    const DType sums = type == DType::kF64 ? DType::kF64 : DType::kF32;
    const TensorView x = runner_.tensor(type, {19, 77}, random.normal(19 * 77, type));
    const TensorView all = runner_.empty(sums, {19, 77});
    runner_.run(rms_norm, {.input = x, .weight = {}, .out = all, .eps = 1e-6});
    const std::vector<double> expected = runner_.values(all);
    for (std::int64_t row = 0; row < 19; ++row) {
      const TensorView out = runner_.empty(sums, {1, 77});
      runner_.run(rms_norm, {.input = x.rows(row, 1), .weight = {}, .out = out, .eps = 1e-6});
      testing::expect_same(runner_.values(out), std::span(expected).subspan(static_cast<std::size_t>(row * 77), 77));
    }
  }
}

}  // namespace
}  // namespace hadal::ops
