#include "ops/gate.h"

#include <cmath>
#include <limits>
#include <numeric>

#include "ops/backend_cases.h"
#include "ops/reference/gate.h"
#include "testing/compare.h"
#include "testing/golden_file.h"

namespace hadal::ops {
namespace {

using testing::GoldenFile;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

HADAL_BACKEND_SUITE(GateTest);

struct Routed {
  std::vector<std::int64_t> experts;
  std::vector<double> weights;
};

Routed route(testing::OpRunner& runner, DType type, const std::vector<double>& logits, const std::vector<double>& bias,
             std::int64_t chosen, double factor = 1, bool normalize = true) {
  const auto count = static_cast<std::int64_t>(bias.size());
  const std::int64_t tokens = static_cast<std::int64_t>(logits.size()) / count;
  const TensorView experts = runner.i32(
      {tokens, chosen}, std::vector<std::int64_t>(logits.size() / bias.size() * static_cast<std::size_t>(chosen), -1));
  const TensorView weights = runner.empty(type, {tokens, chosen});
  runner.run(gate, {.logits = runner.tensor(type, {tokens, count}, logits),
                    .bias = runner.weight(DType::kF32, {count}, bias),
                    .token_experts = {},
                    .tokens = {},
                    .routed_scaling_factor = factor,
                    .normalize = normalize,
                    .experts = experts,
                    .weights = weights});
  return {.experts = runner.integers(experts), .weights = runner.values(weights)};
}

TEST_P(GateTest, Golden) {
  const GoldenFile units("units.safetensors");
  for (const DType type : real_types()) {
    const Routed routed = route(runner_, type, units.doubles("router.logits"), units.doubles("router.bias"), 6, 2.5);
    EXPECT_EQ(routed.experts, units.integers("router.experts"));
    testing::expect_golden(routed.weights, units.doubles("router.weights"), type);
  }
}

TEST(GateReference, GoldenScores) {
  const GoldenFile units("units.safetensors");
  const std::vector<double> logits = units.doubles("router.logits");
  std::vector<double> in_float;
  std::vector<double> in_double;
  for (const double u : logits) {
    in_float.push_back(static_cast<double>(reference::sqrt_softplus(static_cast<float>(u))));
    in_double.push_back(reference::sqrt_softplus(u));
  }
  testing::expect_golden(in_float, units.doubles("router.scores"), DType::kF32);
  testing::expect_golden(in_double, units.doubles("router.scores"), DType::kF64);
}

TEST_P(GateTest, EqualScoresChooseTheLowestIds) {
  for (const DType type : real_types()) {
    for (const double logit : {0.0, 25.0, -40.0, 19.999, -1e4}) {
      const Routed routed = route(runner_, type, std::vector<double>(12, logit), std::vector<double>(12, 0), 5);
      EXPECT_EQ(routed.experts, (std::vector<std::int64_t>{0, 1, 2, 3, 4}));
    }
  }
}

// exp(u) far below 1: log(1 + exp(u)) would be 0 in f32 from -17 on, and the weights 0 / 0.
TEST_P(GateTest, TinyScoresKeepTheirRatios) {
  for (const DType type : real_types()) {
    for (const double u : {-20.0, -40.0, -80.0}) {
      const Routed routed = route(runner_, type, {u, u - 2, u - 4, u - 6}, {0, 0, 0, 0}, 2);
      EXPECT_EQ(routed.experts, (std::vector<std::int64_t>{0, 1}));
      // Scores are exp(u / 2) there.
      const double first = 1 / (1 + std::exp(-1.0));
      EXPECT_NEAR(routed.weights[0], first, 2e-6);
      EXPECT_NEAR(routed.weights[1], 1 - first, 2e-6);
    }
  }
}

TEST_P(GateTest, LargeLogitsAreTheirOwnSoftplus) {
  for (const DType type : real_types()) {
    const Routed routed = route(runner_, type, {20.0, 25.0, 400.0, 1e6}, {0, 0, 0, 0}, 4, 1, false);
    testing::expect_near(routed.weights, std::vector<double>{std::sqrt(20.0), 5, 20, 1000}, 0, 2e-7);
  }
}

TEST_P(GateTest, BiasSelectsButDoesNotWeigh) {
  for (const DType type : real_types()) {
    const Routed routed = route(runner_, type, {1, 2, 3, 4}, {10, 0, 10, 0}, 2, 1.5);
    EXPECT_EQ(routed.experts, (std::vector<std::int64_t>{0, 2}));
    const double s0 = std::sqrt(std::log1p(std::exp(1.0)));
    const double s2 = std::sqrt(std::log1p(std::exp(3.0)));
    testing::expect_near(routed.weights, std::vector<double>{1.5 * s0 / (s0 + s2), 1.5 * s2 / (s0 + s2)}, 0, 1e-6);
  }
}

TEST_P(GateTest, NanComesLastAndInfinityFirst) {
  for (const DType type : real_types()) {
    EXPECT_EQ(route(runner_, type, {kNan, -100, kInfinity, -50, kNan}, {0, 0, 0, 0, 0}, 3).experts,
              (std::vector<std::int64_t>{1, 2, 3}));
    EXPECT_EQ(route(runner_, type, {kNan, 1, kNan, kNan, kNan}, {0, 0, 0, 0, 0}, 3).experts,
              (std::vector<std::int64_t>{0, 1, 2}));
    // exp(-inf) is 0: a score like any other.
    const Routed routed = route(runner_, type, {-kInfinity, 1, -kInfinity}, {0, 0, 0}, 2, 1);
    EXPECT_EQ(routed.experts, (std::vector<std::int64_t>{0, 1}));
    testing::expect_same(routed.weights, std::vector<double>{0, 1});
  }
}

TEST_P(GateTest, TokenTableDecidesInAnyOrderAndCountsDuplicates) {
  for (const DType type : real_types()) {
    const TensorView experts = runner_.i32({3, 2}, std::vector<std::int64_t>(6, -1));
    const TensorView weights = runner_.empty(type, {3, 2});
    runner_.run(gate, {.logits = runner_.tensor(type, {3, 4}, {1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4}),
                       .bias = {},
                       .token_experts = runner_.i64_weight({3, 2}, {3, 1, 0, 2, 2, 2}),
                       .tokens = runner_.i64({3}, {2, 0, 1}),
                       .routed_scaling_factor = 2,
                       .normalize = true,
                       .experts = experts,
                       .weights = weights});
    EXPECT_EQ(runner_.integers(experts), (std::vector<std::int64_t>{2, 2, 1, 3, 0, 2}));
    const auto score = [](double u) { return std::sqrt(std::log1p(std::exp(u))); };
    const auto share = [&](double u, double other) { return 2 * score(u) / (score(u) + score(other)); };
    testing::expect_near(runner_.values(weights),
                         std::vector<double>{1, 1, share(2, 4), share(4, 2), share(1, 3), share(3, 1)}, 0, 1e-6);
  }
}

// The real widths, against a plain sort of the scores in double; logits lie far apart enough to have one answer.
TEST_P(GateTest, RealNumbersOfExpertsAgreeWithASort) {
  testing::RandomValues random(51);
  for (const DType type : real_types()) {
    for (const std::int64_t count : {256, 384}) {
      const std::vector<double> logits = random.normal(3 * count, type, 2);
      const std::vector<double> bias = random.normal(count, DType::kF32, 0.1);
      const Routed routed = route(runner_, type, logits, bias, 6);
      for (std::size_t token = 0; token < 3; ++token) {
        std::vector<std::int64_t> order(static_cast<std::size_t>(count));
        std::iota(order.begin(), order.end(), 0);
        const auto score = [&](std::int64_t e) {
          const auto i = static_cast<std::size_t>(e);
          return std::sqrt(std::log1p(std::exp(logits[token * static_cast<std::size_t>(count) + i]))) + bias[i];
        };
        std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return score(a) > score(b); });
        order.resize(6);
        std::sort(order.begin(), order.end());
        const auto* begin = &routed.experts[token * 6];
        EXPECT_EQ(std::vector<std::int64_t>(begin, begin + 6), order);
      }
    }
  }
}

}  // namespace
}  // namespace hadal::ops
