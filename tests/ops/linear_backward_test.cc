#include <cmath>
#include <span>

#include "ops/backend_cases.h"
#include "ops/grouped_linear.h"
#include "ops/linear.h"
#include "ops/reference/reference_backend.h"
#include "ops/weight_cases.h"
#include "testing/compare.h"
#include "testing/gradient_check.h"

namespace hadal::ops {
namespace {

using testing::OpRunner;
using testing::WeightCase;

HADAL_BACKEND_SUITE(LinearBackwardTest);

DType sum_type(DType type) { return type == DType::kF64 ? DType::kF64 : DType::kF32; }
std::size_t at(std::int64_t index) { return static_cast<std::size_t>(index); }

/// `groups` products of [rows, columns] with [outputs, columns] each, side by side.
struct Extents {
  std::int64_t rows, outputs, columns, groups = 1;

  [[nodiscard]] Shape input() const { return {rows, groups * columns}; }
  [[nodiscard]] Shape weight() const { return {groups * outputs, columns}; }
  [[nodiscard]] Shape out() const { return {rows, groups * outputs}; }
};

struct Gradients {
  std::vector<double> input;
  std::vector<double> weight;
};

/// The gradients by plain loops in double, and the sums of the products' magnitudes.
struct Expected {
  Gradients sums, magnitudes;

  Expected(const Extents& extents, const std::vector<double>& input, const std::vector<double>& weight,
           const std::vector<double>& d_out) {
    const auto& [rows, outputs, columns, groups] = extents;
    sums = {.input = std::vector<double>(input.size()), .weight = std::vector<double>(weight.size())};
    magnitudes = sums;
    for (std::int64_t row = 0; row < rows; ++row) {
      for (std::int64_t n = 0; n < groups * outputs; ++n) {
        for (std::int64_t k = 0; k < columns; ++k) {
          const std::size_t x = at((row * groups + n / outputs) * columns + k);
          const std::size_t w = at(n * columns + k);
          const double d = d_out[at(row * groups * outputs + n)];
          sums.input[x] += d * weight[w];
          magnitudes.input[x] += std::abs(d * weight[w]);
          sums.weight[w] += d * input[x];
          magnitudes.weight[w] += std::abs(d * input[x]);
        }
      }
    }
  }
};

/// Runs linear_backward, or grouped_linear_backward when there are groups, on gradients that hold `before`.
struct Backward {
  OpRunner& runner;
  Extents extents;
  DType type;  // of input

  [[nodiscard]] Gradients operator()(const std::vector<double>& input, const Weight& weight,
                                     const std::vector<double>& d_out, const Gradients& before, bool accumulate,
                                     std::int64_t padding = 0) const {
    const DType sums = sum_type(type);
    const TensorView d_input =
        before.input.empty() ? TensorView() : runner.tensor(sums, extents.input(), before.input, padding);
    const TensorView d_weight =
        before.weight.empty() ? TensorView() : runner.tensor(sums, extents.weight(), before.weight, padding);
    const TensorView x = runner.tensor(type, extents.input(), input, padding);
    const TensorView d = runner.tensor(sums, extents.out(), d_out, padding);
    if (extents.groups == 1) {
      runner.run(linear_backward, {.input = x,
                                   .weight = weight,
                                   .d_out = d,
                                   .d_input = d_input,
                                   .accumulate_input = accumulate,
                                   .d_weight = d_weight});
    } else {
      runner.run(grouped_linear_backward, {.input = x,
                                           .weight = weight,
                                           .groups = extents.groups,
                                           .d_out = d,
                                           .d_input = d_input,
                                           .accumulate_input = accumulate,
                                           .d_weight = d_weight});
    }
    return {.input = d_input.absent() ? std::vector<double>() : runner.values(d_input),
            .weight = d_weight.absent() ? std::vector<double>() : runner.values(d_weight)};
  }
};

void expect_within(const std::vector<double>& actual, const std::vector<double>& before,
                   const std::vector<double>& sums, const std::vector<double>& magnitudes, std::int64_t length,
                   DType type) {
  ASSERT_EQ(actual.size(), sums.size());
  const double eps = static_cast<double>(length + 4) * testing::epsilon(sum_type(type));
  for (std::size_t i = 0; i < actual.size(); ++i) {
    ASSERT_LE(std::abs(actual[i] - (before[i] + sums[i])), eps * (magnitudes[i] + std::abs(before[i])))
        << "element " << i;
  }
}

/// Both gradients against plain loops in double, once overwritten and once added to.
void check(OpRunner& runner, testing::RandomValues& random, const Extents& extents, DType type,
           const WeightCase& weight) {
  SCOPED_TRACE(weight.name + " " + std::string(name(type)) + " " + to_string(extents.out()) + " from " +
               to_string(extents.input()));
  const DType sums = sum_type(type);
  const std::vector<double> input = random.normal(extents.input().elements(), type);
  const std::vector<double> d_out = random.normal(extents.out().elements(), sums);
  const bool narrow = type == DType::kBf16 && weight.type != DType::kF32 && weight.scale_type == DType::kE8m0;
  std::vector<double> rounded = d_out;
  if (narrow) {
    for (double& value : rounded) value = testing::as_stored(DType::kBf16, value);
  }
  const Expected expected(extents, input, weight.values, rounded);
  const Gradients before{.input = random.normal(extents.input().elements(), sums),
                         .weight = random.normal(extents.weight().elements(), sums)};
  const Weight prepared = weight.make(runner);
  const Backward run{.runner = runner, .extents = extents, .type = type};
  for (const bool accumulate : {false, true}) {
    const Gradients actual = run(input, prepared, d_out, before, accumulate, extents.groups == 1 ? 5 : 0);
    const std::vector<double> nothing(before.input.size(), 0.0);
    expect_within(actual.input, accumulate ? before.input : nothing, expected.sums.input, expected.magnitudes.input,
                  extents.outputs, type);
    expect_within(actual.weight, before.weight, expected.sums.weight, expected.magnitudes.weight, extents.rows, type);
  }
}

TEST(LinearBackwardGradient, AgreesWithDifferences) {
  for (const auto& [groups, op] : {std::pair{std::int64_t{1}, "linear_backward"}, {3, "grouped_linear_backward"}}) {
    const Extents extents{.rows = 7, .outputs = 5, .columns = 11, .groups = groups};
    testing::RandomValues random(301);
    const std::vector<double> input = random.normal(extents.input().elements(), DType::kF64);
    const std::vector<double> weight = random.normal(extents.weight().elements(), DType::kF32);
    const std::vector<double> d_out = random.normal(extents.out().elements(), DType::kF64);
    const auto loss = [&](const std::vector<double>& x, const std::vector<double>& w) {
      ReferenceBackend reference;
      OpRunner runner(reference);
      const TensorView out = runner.empty(DType::kF64, extents.out());
      const TensorView view = runner.tensor(DType::kF64, extents.input(), x);
      const Weight prepared = runner.weight(DType::kF32, extents.weight(), w);
      if (extents.groups == 1) {
        runner.run(linear, {.input = view, .weight = prepared, .out = out});
      } else {
        runner.run(grouped_linear, {.input = view, .weight = prepared, .groups = extents.groups, .out = out});
      }
      return testing::inner_product(d_out, runner.values(out));
    };
    ReferenceBackend reference;
    OpRunner runner(reference);
    const Gradients zero{.input = std::vector<double>(input.size()), .weight = std::vector<double>(weight.size())};
    const Gradients gradients = Backward{.runner = runner, .extents = extents, .type = DType::kF64}(
        input, runner.weight(DType::kF32, extents.weight(), weight), d_out, zero, false);
    testing::expect_gradient({.name = std::string(op) + " d_input",
                              .type = DType::kF64,
                              .values = input,
                              .gradient = gradients.input,
                              .loss = [&](const std::vector<double>& x) { return loss(x, weight); }});
    testing::expect_gradient({.name = std::string(op) + " d_weight",
                              .type = DType::kF32,
                              .values = weight,
                              .gradient = gradients.weight,
                              .loss = [&](const std::vector<double>& w) { return loss(input, w); }});
  }
}

TEST_P(LinearBackwardTest, EveryWeightFormatAndInputType) {
  testing::RandomValues random(302);
  for (const DType type : product_types()) {
    for (const Extents& extents :
         {Extents{.rows = 5, .outputs = 130, .columns = 160}, Extents{.rows = 33, .outputs = 3, .columns = 96},
          Extents{.rows = 9, .outputs = 128, .columns = 32, .groups = 2}}) {
      for (const WeightCase& weight :
           testing::weight_cases(random, extents.groups * extents.outputs, extents.columns)) {
        check(runner_, random, extents, type, weight);
      }
    }
  }
}

// Extents around the tiles and vectors of kernels.
TEST_P(LinearBackwardTest, OddExtents) {
  testing::RandomValues random(303);
  for (const DType type : product_types()) {
    const DType weight_type = type == DType::kBf16 ? DType::kBf16 : DType::kF32;
    for (const Extents& extents :
         {Extents{.rows = 1, .outputs = 1, .columns = 1}, Extents{.rows = 2, .outputs = 17, .columns = 15},
          Extents{.rows = 15, .outputs = 31, .columns = 33}, Extents{.rows = 64, .outputs = 65, .columns = 63},
          Extents{.rows = 129, .outputs = 7, .columns = 49}, Extents{.rows = 3, .outputs = 48, .columns = 127},
          Extents{.rows = 17, .outputs = 33, .columns = 1, .groups = 3}}) {
      check(runner_, random, extents, type,
            testing::plain_weight(random, weight_type, extents.groups * extents.outputs, extents.columns));
    }
  }
}

// More tokens than one chunk of the sums of a weight's gradient.
TEST_P(LinearBackwardTest, ManyTokens) {
  testing::RandomValues random(304);
  for (const DType type : product_types()) {
    check(runner_, random, {.rows = 2100, .outputs = 20, .columns = 35}, type,
          testing::plain_weight(random, DType::kBf16, 20, 35));
  }
}

TEST_P(LinearBackwardTest, AnUnwantedGradientChangesNothingInTheOther) {
  testing::RandomValues random(305);
  for (const DType type : product_types()) {
    const Extents extents{.rows = 40, .outputs = 24, .columns = 50};
    const std::vector<double> input = random.normal(extents.input().elements(), type);
    const std::vector<double> d_out = random.normal(extents.out().elements(), sum_type(type));
    const Weight weight = testing::plain_weight(random, DType::kBf16, 24, 50).make(runner_);
    const Gradients zero{.input = std::vector<double>(input.size()), .weight = std::vector<double>(24 * 50)};
    const Backward run{.runner = runner_, .extents = extents, .type = type};
    const Gradients both = run(input, weight, d_out, zero, false);
    testing::expect_same(run(input, weight, d_out, {.input = zero.input, .weight = {}}, false).input, both.input);
    testing::expect_same(run(input, weight, d_out, {.input = {}, .weight = zero.weight}, false).weight, both.weight);
  }
}

}  // namespace
}  // namespace hadal::ops
