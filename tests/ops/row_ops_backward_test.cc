// Gradients of the operators on rows: rms_norm_backward, add_position_bias_backward, gather_rows_backward,
// previous_rows_backward.

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "ops/add_position_bias.h"
#include "ops/backend_cases.h"
#include "ops/gather_rows.h"
#include "ops/previous_rows.h"
#include "ops/reference/reference_backend.h"
#include "ops/rms_norm.h"
#include "ops/step_case.h"
#include "testing/compare.h"
#include "testing/gradient_check.h"

namespace hadal::ops {
namespace {

using testing::OpRunner;
using testing::RandomValues;
using Values = std::vector<double>;

HADAL_BACKEND_SUITE(RowOpsBackwardTest);

/// RMSNorm of `rows` rows with the gradient at its result.
struct Norm {
  std::int64_t rows;
  std::int64_t channels;
  bool weighted = true;
  DType weight_type = DType::kF32;
  Values input = {}, weight = {}, d_out = {};
};

Norm random_norm(Norm norm, DType type, std::uint64_t seed) {
  RandomValues random(seed);
  norm.input = random.normal(norm.rows * norm.channels, type, 3);
  if (norm.weighted) norm.weight = random.normal(norm.channels, norm.weight_type);
  norm.d_out = random.normal(norm.rows * norm.channels, type);
  return norm;
}

Weight weight_of(OpRunner& runner, const Norm& norm) {
  return norm.weighted ? runner.weight(norm.weight_type, {norm.channels}, norm.weight) : Weight{};
}

struct NormGradients {
  Values input, weight;
};

enum class Place { kApart, kOnGradient, kAdded };

/// d_weight is added to 0.25; d_input to 0.5 when kAdded.
NormGradients norm_backward(OpRunner& runner, DType type, const Norm& norm, Place place = Place::kApart) {
  const Shape shape{norm.rows, norm.channels};
  const TensorView d_out = runner.tensor(type, shape, norm.d_out, 3);
  const TensorView before = runner.tensor(type, shape, Values(norm.d_out.size(), 0.5), 2);
  const TensorView d_input = place == Place::kOnGradient ? d_out : before;
  const TensorView d_weight =
      runner.tensor(type, {norm.channels}, Values(static_cast<std::size_t>(norm.channels), 0.25));
  runner.run(rms_norm_backward, {.input = runner.tensor(type, shape, norm.input, 7),
                                 .weight = weight_of(runner, norm),
                                 .d_out = d_out,
                                 .eps = 1e-6,
                                 .d_input = d_input,
                                 .accumulate_input = place == Place::kAdded,
                                 .d_weight = norm.weighted ? d_weight : TensorView{}});
  return {runner.values(d_input), runner.values(d_weight)};
}

NormGradients norm_backward_in_double(const Norm& norm, Place place = Place::kApart) {
  ReferenceBackend backend;
  OpRunner runner(backend);
  return norm_backward(runner, DType::kF64, norm, place);
}

double norm_loss(const Norm& norm) {
  ReferenceBackend backend;
  OpRunner runner(backend);
  const Shape shape{norm.rows, norm.channels};
  const TensorView out = runner.empty(DType::kF64, shape);
  runner.run(rms_norm, {.input = runner.tensor(DType::kF64, shape, norm.input),
                        .weight = weight_of(runner, norm),
                        .out = out,
                        .eps = 1e-6});
  return testing::inner_product(runner.values(out), norm.d_out);
}

void expect_norm_gradient(const std::string& name, const Norm& norm, Values Norm::* input, DType type,
                          const Values& gradient) {
  testing::expect_gradient({.name = "rms_norm_backward " + name,
                            .type = type,
                            .values = norm.*input,
                            .gradient = gradient,
                            .loss = [&norm, input](const Values& values) {
                              Norm at = norm;
                              at.*input = values;
                              return norm_loss(at);
                            }});
}

TEST(RowOpsGradients, RmsNormAgainstDifferences) {
  const Norm norm = random_norm({.rows = 4, .channels = 9}, DType::kF64, 81);
  NormGradients d = norm_backward_in_double(norm);
  for (double& value : d.weight) value -= 0.25;
  expect_norm_gradient("d_input", norm, &Norm::input, DType::kF64, d.input);
  expect_norm_gradient("d_weight", norm, &Norm::weight, DType::kF32, d.weight);
  const Norm plain = random_norm({.rows = 4, .channels = 9, .weighted = false}, DType::kF64, 82);
  expect_norm_gradient("d_input without weight", plain, &Norm::input, DType::kF64,
                       norm_backward_in_double(plain).input);
}

TEST(RowOpsGradients, PositionBiasAgainstDifferences) {
  RandomValues random(83);
  const Values x = random.normal(7 * 5, DType::kF64);
  const Values d_x = random.normal(7 * 5, DType::kF64);
  const std::vector<std::int64_t> positions = {0, 1, 2, 3, 4, 1025, 2};
  ReferenceBackend backend;
  OpRunner runner(backend);
  const TensorView d_bias = runner.tensor(DType::kF64, {4, 5}, Values(20, 0));
  runner.run(
      add_position_bias_backward,
      {.positions = runner.i64({7}, positions), .d_x = runner.tensor(DType::kF64, {7, 5}, d_x), .d_bias = d_bias});
  testing::expect_gradient(
      {.name = "add_position_bias_backward d_bias",
       .type = DType::kF32,
       .values = random.normal(20, DType::kF32),
       .gradient = runner.values(d_bias),
       .loss = [&](const Values& bias) {
         OpRunner at(backend);
         const TensorView out = at.tensor(DType::kF64, {7, 5}, x);
         at.run(add_position_bias,
                {.x = out, .positions = at.i64({7}, positions), .bias = at.weight(DType::kF32, {4, 5}, bias)});
         return testing::inner_product(at.values(out), d_x);
       }});
}

TEST(RowOpsGradients, GatherRowsAgainstDifferences) {
  RandomValues random(84);
  const Values d_out = random.normal(5 * 3, DType::kF64);
  const std::vector<std::int64_t> index = {3, 0, 3, 5, 3};
  ReferenceBackend backend;
  OpRunner runner(backend);
  const TensorView d_input = runner.empty(DType::kF64, {6, 3});
  runner.run(gather_rows_backward,
             {.d_out = runner.tensor(DType::kF64, {5, 3}, d_out), .index = runner.i32({5}, index), .d_input = d_input});
  testing::expect_gradient(
      {.name = "gather_rows_backward d_input",
       .type = DType::kF64,
       .values = random.normal(18, DType::kF64),
       .gradient = runner.values(d_input),
       .loss = [&](const Values& input) {
         OpRunner at(backend);
         const TensorView out = at.empty(DType::kF64, {5, 3});
         at.run(gather_rows, {.input = at.tensor(DType::kF64, {6, 3}, input), .index = at.i32({5}, index), .out = out});
         return testing::inner_product(at.values(out), d_out);
       }});
}

/// Two sequences that begin at 0, and one that goes on at position 6 of committed rows.
testing::StepCase three_sequences() {
  return {.sequences = {{.start = 0, .rows = 4, .slot = 0},
                        {.start = 6, .rows = 3, .slot = 2},
                        {.start = 0, .rows = 1, .slot = 1}},
          .slots = 3,
          .ring_rows = 2};
}

TEST(RowOpsGradients, PreviousRowsAgainstDifferences) {
  RandomValues random(85);
  const testing::StepCase step = three_sequences();
  const Values d_out = random.normal(8 * 3, DType::kF64);
  const Values ring = random.normal(3 * 2 * 3, DType::kF64);
  ReferenceBackend backend;
  OpRunner runner(backend);
  const TensorView d_rows = runner.tensor(DType::kF64, {8, 3}, Values(24, 0));
  runner.run(previous_rows_backward,
             {.d_out = runner.tensor(DType::kF64, {8, 3}, d_out), .layout = layout_of(runner, step), .d_rows = d_rows});
  testing::expect_gradient({.name = "previous_rows_backward d_rows",
                            .type = DType::kF64,
                            .values = random.normal(24, DType::kF64),
                            .gradient = runner.values(d_rows),
                            .loss = [&](const Values& rows) {
                              OpRunner at(backend);
                              const TensorView out = at.empty(DType::kF64, {8, 3});
                              at.run(previous_rows, {.rows = at.tensor(DType::kF64, {8, 3}, rows),
                                                     .ring = at.tensor(DType::kF64, {3, 2, 3}, ring),
                                                     .layout = layout_of(at, step),
                                                     .out = out});
                              return testing::inner_product(at.values(out), d_out);
                            }});
}

/// Each row of d_input is a difference that may cancel: its error is one of the terms, s a and s u mean(a u).
void expect_norm_rows(const Values& actual, const Values& expected, const Norm& norm, DType type) {
  const auto channels = static_cast<std::size_t>(norm.channels);
  for (std::size_t begin = 0; begin < expected.size(); begin += channels) {
    double squares = 0;
    double largest_input = 0;
    double largest_a = 0;
    for (std::size_t c = 0; c < channels; ++c) {
      squares += norm.input[begin + c] * norm.input[begin + c];
      largest_input = std::max(largest_input, std::abs(norm.input[begin + c]));
      largest_a = std::max(largest_a, std::abs(norm.d_out[begin + c] * (norm.weighted ? norm.weight[c] : 1)));
    }
    const double s = 1 / std::sqrt(squares / static_cast<double>(channels) + 1e-6);
    const double terms = s * largest_a * std::max(1.0, s * largest_input);
    const double bound = (8 + static_cast<double>(channels) / 16) * testing::epsilon(type) * (1 + terms);
    testing::expect_near(std::span(actual).subspan(begin, channels), std::span(expected).subspan(begin, channels),
                         bound, 0);
  }
}

TEST_P(RowOpsBackwardTest, RmsNormOfEveryWidthWeightAndPlace) {
  struct Kind {
    bool weighted;
    DType type;
  };
  for (const DType type : real_types()) {
    for (const std::int64_t channels : {1, 7, 16, 17, 129, 530}) {
      for (const Kind kind : {Kind{true, DType::kF32}, Kind{true, DType::kBf16}, Kind{false, DType::kF32}}) {
        for (const Place place : {Place::kApart, Place::kOnGradient, Place::kAdded}) {
          const Norm norm = random_norm(
              {.rows = 19, .channels = channels, .weighted = kind.weighted, .weight_type = kind.type}, type, 86);
          const NormGradients expected = norm_backward_in_double(norm, place);
          const NormGradients d = norm_backward(runner_, type, norm, place);
          expect_norm_rows(d.input, expected.input, norm, type);
          testing::expect_near_rms(d.weight, expected.weight, expected.weight.size(), 64 * testing::epsilon(type));
        }
      }
    }
  }
}

// More rows than a chunk of the weight's sums.
TEST_P(RowOpsBackwardTest, RmsNormWeightOverManyRows) {
  for (const DType type : real_types()) {
    const Norm norm = random_norm({.rows = 1100, .channels = 33}, type, 87);
    const NormGradients d = norm_backward(runner_, type, norm);
    const NormGradients expected = norm_backward_in_double(norm);
    testing::expect_near_rms(d.weight, expected.weight, expected.weight.size(), 128 * testing::epsilon(type));
    expect_norm_rows(d.input, expected.input, norm, type);
  }
}

TEST_P(RowOpsBackwardTest, RmsNormOfZeroAndNanRows) {
  for (const DType type : real_types()) {
    Norm norm = random_norm({.rows = 3, .channels = 16}, type, 88);
    for (std::size_t c = 0; c < 16; ++c) {
      norm.input[c] = 0;  // s = 1000: the gradient is s a
      norm.input[16 + c] = std::numeric_limits<double>::quiet_NaN();
    }
    const Values d_input = norm_backward(runner_, type, norm).input;
    for (std::size_t c = 0; c < 16; ++c) {
      const double expected = 1000 * norm.weight[c] * norm.d_out[c];
      EXPECT_NEAR(d_input[c], expected, 1e-6 * std::abs(expected));
      EXPECT_TRUE(std::isnan(d_input[16 + c]));
      EXPECT_TRUE(std::isfinite(d_input[32 + c]));
    }
  }
}

TEST_P(RowOpsBackwardTest, PositionBiasSumsThePhaseOfEveryRow) {
  RandomValues random(89);
  for (const DType type : real_types()) {
    const Values d_x = random.normal(600 * 21, type);
    std::vector<std::int64_t> positions;
    for (std::int64_t row = 0; row < 600; ++row) positions.push_back(row < 350 ? row : (std::int64_t{1} << 40) + row);
    Values expected(4 * 21, 1.5);
    for (std::size_t i = 0; i < d_x.size(); ++i) {
      expected[static_cast<std::size_t>(positions[i / 21] % 4) * 21 + i % 21] += d_x[i];
    }
    const TensorView d_bias = runner_.tensor(type, {4, 21}, Values(4 * 21, 1.5));
    runner_.run(
        add_position_bias_backward,
        {.positions = runner_.i64({600}, positions), .d_x = runner_.tensor(type, {600, 21}, d_x), .d_bias = d_bias});
    testing::expect_near_rms(runner_.values(d_bias), expected, expected.size(), 64 * testing::epsilon(type));
  }
}

TEST_P(RowOpsBackwardTest, GatherAddsRowsThatAreNamedTwiceAndClearsTheRest) {
  for (const DType type : real_types()) {
    const TensorView d_input = runner_.empty(type, {4, 3}, 2);
    runner_.run(gather_rows_backward,
                {.d_out = runner_.tensor(type, {4, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30}, 5),
                 .index = runner_.i32({4}, {2, 0, 2, 2}),
                 .d_input = d_input});
    testing::expect_same(runner_.values(d_input), Values{4, 5, 6, 0, 0, 0, 18, 30, 42, 0, 0, 0});
    const TensorView cleared = runner_.empty(type, {2, 3});
    runner_.run(gather_rows_backward,
                {.d_out = runner_.empty(type, {0, 3}), .index = runner_.i32({0}, {}), .d_input = cleared});
    testing::expect_same(runner_.values(cleared), Values(6, 0));
  }
}

TEST_P(RowOpsBackwardTest, PreviousRowsGoBackInsideTheirSequence) {
  const testing::StepCase step = three_sequences();
  for (const DType type : real_types()) {
    const TensorView d_rows = runner_.tensor(type, {8, 1}, Values(8, 100));
    runner_.run(previous_rows_backward, {.d_out = runner_.tensor(type, {8, 1}, {1, 2, 3, 4, 5, 6, 7, 8}),
                                         .layout = layout_of(runner_, step),
                                         .d_rows = d_rows});
    testing::expect_same(runner_.values(d_rows), Values{102, 103, 104, 100, 106, 107, 100, 100});
  }
}

}  // namespace
}  // namespace hadal::ops
