#include "ops/routed_experts.h"

#include <cmath>

#include "ops/backend_cases.h"
#include "ops/linear.h"
#include "ops/swiglu.h"
#include "ops/weight_cases.h"
#include "testing/compare.h"

namespace hadal::ops {
namespace {

using testing::OpRunner;
using testing::WeightCase;

constexpr std::int64_t kHidden = 96;
constexpr std::int64_t kInter = 128;
constexpr std::int64_t kExperts = 4;

HADAL_BACKEND_SUITE(RoutedExpertsTest);

DType sum_type(DType type) { return type == DType::kF64 ? DType::kF64 : DType::kF32; }

/// The projections of a layer's experts, prepared for one backend.
struct Experts {
  std::vector<WeightCase> gate_cases, up_cases, down_cases;
  std::vector<Weight> gate, up, down;

  Experts(OpRunner& runner, testing::RandomValues& random, std::size_t format) {
    for (std::int64_t e = 0; e < kExperts; ++e) {
      gate_cases.push_back(testing::weight_cases(random, kInter, kHidden)[format]);
      up_cases.push_back(testing::weight_cases(random, kInter, kHidden)[format]);
      down_cases.push_back(testing::weight_cases(random, kHidden, kInter)[format]);
      gate.push_back(gate_cases.back().make(runner));
      up.push_back(up_cases.back().make(runner));
      down.push_back(down_cases.back().make(runner));
    }
  }
  [[nodiscard]] ExpertWeights table() const {
    return {.gate = gate.data(), .up = up.data(), .down = down.data(), .count = kExperts};
  }
};

struct Routing {
  std::int64_t chosen;
  std::vector<std::int64_t> experts;
  std::vector<double> weights;

  [[nodiscard]] std::int64_t tokens() const { return static_cast<std::int64_t>(experts.size()) / chosen; }
};

std::vector<double> mixture(OpRunner& runner, DType type, const std::vector<double>& input, const Routing& routing,
                            const Experts& experts, Rounding rounding, double limit = 10) {
  const TensorView out = runner.empty(sum_type(type), {routing.tokens(), kHidden});
  runner.run(routed_experts,
             {.input = runner.tensor(type, {routing.tokens(), kHidden}, input),
              .experts = runner.i32({routing.tokens(), routing.chosen}, routing.experts),
              .weights = runner.tensor(sum_type(type), {routing.tokens(), routing.chosen}, routing.weights),
              .table = experts.table(),
              .swiglu_limit = limit,
              .rounding = rounding,
              .out = out});
  return runner.values(out);
}

/// One expert applied to one row with weight 1, by the plain operators.
std::vector<double> compose(OpRunner& runner, DType type, const std::vector<double>& row, const Experts& experts,
                            std::int64_t expert, Rounding rounding) {
  const auto e = static_cast<std::size_t>(expert);
  const DType sums = sum_type(type);
  const TensorView x = runner.tensor(type, {1, kHidden}, row);
  const TensorView gate = runner.empty(sums, {1, kInter});
  const TensorView up = runner.empty(sums, {1, kInter});
  const TensorView rounded = runner.empty(type, {1, kInter});
  const TensorView out = runner.empty(sums, {1, kHidden});
  runner.run(linear, {.input = x, .weight = experts.gate[e], .out = gate});
  runner.run(linear, {.input = x, .weight = experts.up[e], .out = up});
  runner.run(swiglu, {.gate = gate, .up = up, .limit = 10, .out = gate});
  runner.run(
      round_rows,
      {.input = gate, .out = rounded, .rounding = rounding, .channels = rounding == Rounding::kNone ? 0 : kInter});
  runner.run(linear, {.input = rounded, .weight = experts.down[e], .out = out});
  return runner.values(out);
}

TEST_P(RoutedExpertsTest, IsTheCompositionOfThePlainOperators) {
  testing::RandomValues random(101);
  for (const DType type : product_types()) {
    for (std::size_t format = 0; format < 5; ++format) {
      const Experts experts(runner_, random, format);
      for (const Rounding rounding : {Rounding::kNone, Rounding::kFp8Block128}) {
        const std::vector<double> input = random.normal(4 * kHidden, type, 0.3);
        const Routing routing{.chosen = 1, .experts = {2, 0, 2, 3}, .weights = {1, 1, 1, 1}};
        const std::vector<double> out = mixture(runner_, type, input, routing, experts, rounding);
        for (std::int64_t token = 0; token < 4; ++token) {
          const auto begin = input.begin() + token * kHidden;
          const std::vector<double> expected = compose(runner_, type, {begin, begin + kHidden}, experts,
                                                       routing.experts[static_cast<std::size_t>(token)], rounding);
          testing::expect_near_rms(std::span(out).subspan(static_cast<std::size_t>(token * kHidden), kHidden), expected,
                                   kHidden, 1e-6);
        }
      }
    }
  }
}

// The formula in double over several experts, one of them named twice; f32 within the error of three products.
TEST_P(RoutedExpertsTest, AddsTheChosenExpertsWithTheirWeights) {
  testing::RandomValues random(102);
  for (const DType type : real_types()) {
    const Experts experts(runner_, random, 4);
    const std::vector<double> input = random.normal(3 * kHidden, type, 0.3);
    const Routing routing{.chosen = 3, .experts = {0, 1, 3, 1, 1, 2, 0, 2, 3}, .weights = {}};
    Routing weighted = routing;
    weighted.weights = random.normal(9, type);
    const std::vector<double> out = mixture(runner_, type, input, weighted, experts, Rounding::kNone);
    for (std::size_t token = 0; token < 3; ++token) {
      std::vector<double> expected(kHidden, 0.0);
      const double* x = &input[token * kHidden];
      for (std::size_t slot = 0; slot < 3; ++slot) {
        const auto e = static_cast<std::size_t>(weighted.experts[token * 3 + slot]);
        std::vector<double> hidden;
        for (std::size_t i = 0; i < kInter; ++i) {
          double gate = 0;
          double up = 0;
          for (std::size_t k = 0; k < kHidden; ++k) {
            gate += x[k] * experts.gate_cases[e].values[i * kHidden + k];
            up += x[k] * experts.up_cases[e].values[i * kHidden + k];
          }
          gate = std::min(gate, 10.0);
          up = std::clamp(up, -10.0, 10.0);
          hidden.push_back(weighted.weights[token * 3 + slot] * gate / (1 + std::exp(-gate)) * up);
        }
        for (std::size_t c = 0; c < kHidden; ++c) {
          for (std::size_t i = 0; i < kInter; ++i)
            expected[c] += hidden[i] * experts.down_cases[e].values[c * kInter + i];
        }
      }
      testing::expect_near_rms(std::span(out).subspan(token * kHidden, kHidden), expected, kHidden,
                               type == DType::kF64 ? 1e-13 : 2e-5);
    }
  }
}

TEST_P(RoutedExpertsTest, BitsOfATokenDoNotDependOnTheOthers) {
  testing::RandomValues random(103);
  for (const DType type : product_types()) {
    for (std::size_t format = 0; format < 5; ++format) {
      const Experts experts(runner_, random, format);
      const std::int64_t tokens = 23;
      const std::vector<double> input = random.normal(tokens * kHidden, type);
      Routing routing{.chosen = 2, .experts = {}, .weights = random.normal(tokens * 2, sum_type(type))};
      for (std::int64_t token = 0; token < tokens; ++token) {
        const std::int64_t first = random.integer(0, kExperts - 2);
        routing.experts.insert(routing.experts.end(), {first, random.integer(first + 1, kExperts - 1)});
      }
      const std::vector<double> all = mixture(runner_, type, input, routing, experts, Rounding::kFp8Block128);
      for (std::int64_t token = 0; token < tokens; ++token) {
        const auto x = input.begin() + token * kHidden;
        const auto at = static_cast<std::size_t>(token * 2);
        const Routing alone{.chosen = 2,
                            .experts = {routing.experts[at], routing.experts[at + 1]},
                            .weights = {routing.weights[at], routing.weights[at + 1]}};
        testing::expect_same(mixture(runner_, type, {x, x + kHidden}, alone, experts, Rounding::kFp8Block128),
                             std::span(all).subspan(static_cast<std::size_t>(token * kHidden), kHidden));
      }
    }
  }
}

TEST_P(RoutedExpertsTest, LimitZeroDoesNotClamp) {
  testing::RandomValues random(104);
  for (const DType type : real_types()) {
    const Experts experts(runner_, random, 0);
    const std::vector<double> input = random.normal(kHidden, type, 4);
    const Routing routing{.chosen = 1, .experts = {1}, .weights = {1}};
    const std::vector<double> clamped = mixture(runner_, type, input, routing, experts, Rounding::kNone, 10);
    const std::vector<double> open = mixture(runner_, type, input, routing, experts, Rounding::kNone, 0);
    const std::vector<double> wide = mixture(runner_, type, input, routing, experts, Rounding::kNone, 1e6);
    testing::expect_same(open, wide);
    EXPECT_NE(open, clamped);
  }
}

}  // namespace
}  // namespace hadal::ops
