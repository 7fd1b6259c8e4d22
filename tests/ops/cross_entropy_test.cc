#include "ops/cross_entropy.h"

#include <cmath>
#include <limits>

#include "ops/backend_cases.h"
#include "ops/reference/reference_backend.h"
#include "testing/compare.h"
#include "testing/gradient_check.h"

namespace hadal::ops {
namespace {

using testing::OpRunner;
using testing::RandomValues;
using Values = std::vector<double>;

HADAL_BACKEND_SUITE(CrossEntropyTest);

struct Losses {
  Values loss;
  Values d_logits;
};

Losses losses(OpRunner& runner, DType type, const Values& logits, const std::vector<std::int64_t>& targets,
              double weight, bool in_place = false) {
  const auto rows = static_cast<std::int64_t>(targets.size());
  const std::int64_t width = static_cast<std::int64_t>(logits.size()) / rows;
  const TensorView x = runner.tensor(type, {rows, width}, logits);
  const TensorView loss = runner.empty(type, {rows});
  const TensorView d_logits = in_place ? x : runner.empty(type, {rows, width});
  runner.run(
      cross_entropy,
      {.logits = x, .targets = runner.i32({rows}, targets), .weight = weight, .loss = loss, .d_logits = d_logits});
  return {runner.values(loss), runner.values(d_logits)};
}

/// By definition, in double.
Losses expected_losses(const Values& logits, const std::vector<std::int64_t>& targets, double weight) {
  const std::size_t width = logits.size() / targets.size();
  Losses expected{.loss = Values(targets.size(), 0), .d_logits = Values(logits.size(), 0)};
  for (std::size_t row = 0; row < targets.size(); ++row) {
    if (targets[row] < 0) continue;
    const auto target = static_cast<std::size_t>(targets[row]);
    const double at_target = logits[row * width + target];
    double sum = 0;  // relative to the target: also right where the target is unlikely
    for (std::size_t v = 0; v < width; ++v) sum += std::exp(logits[row * width + v] - at_target);
    expected.loss[row] = std::log(sum);
    for (std::size_t v = 0; v < width; ++v) {
      const double p = std::exp(logits[row * width + v] - at_target) / sum;
      expected.d_logits[row * width + v] = weight * (p - (v == target ? 1 : 0));
    }
  }
  return expected;
}

TEST(CrossEntropyGradient, AgainstDifferences) {
  RandomValues random(71);
  const Values logits = random.normal(4 * 11, DType::kF64, 3);
  const std::vector<std::int64_t> targets = {3, -1, 0, 10};
  const auto run = [&](const Values& at) {
    ReferenceBackend backend;
    OpRunner runner(backend);
    return losses(runner, DType::kF64, at, targets, 0.25);
  };
  testing::expect_gradient(
      {.name = "cross_entropy d_logits",
       .type = DType::kF64,
       .values = logits,
       .gradient = run(logits).d_logits,
       .loss = [&](const Values& at) { return 0.25 * testing::inner_product(run(at).loss, Values(targets.size(), 1)); },
       .samples = 44});
}

TEST_P(CrossEntropyTest, EveryWidthInPlaceAndApart) {
  RandomValues random(72);
  for (const DType type : real_types()) {
    for (const std::int64_t width : {1, 2, 15, 16, 17, 63, 65, 513, 6144}) {
      const std::vector<std::int64_t> targets = {0, width - 1, -1, width / 2, width / 3};
      const Values logits = random.normal(5 * width, type, 4);
      const Losses expected = expected_losses(logits, targets, 0.125);
      for (const bool in_place : {false, true}) {
        const Losses actual = losses(runner_, type, logits, targets, 0.125, in_place);
        // The exponent of a term is as exact as the logits' difference, which is below 64.
        const double relative = 64 * testing::epsilon(type);
        testing::expect_near(actual.loss, expected.loss, relative, relative);
        testing::expect_near(actual.d_logits, expected.d_logits, 0.125 * 4 * testing::epsilon(type), relative);
      }
    }
  }
}

TEST_P(CrossEntropyTest, MaskedRowsAreZeroWhateverTheyHold) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  for (const DType type : real_types()) {
    const Losses actual = losses(runner_, type, {kNan, 1, 2, 3, 4, 5}, {-1, 2}, 1);
    EXPECT_EQ(actual.loss[0], 0);
    testing::expect_same(std::span(actual.d_logits).first(3), Values{0, 0, 0});
    EXPECT_NEAR(actual.loss[1], std::log(1 + std::exp(-1) + std::exp(-2)), 1e-6);
  }
}

TEST_P(CrossEntropyTest, LargeLogitsNeitherOverflowNorVanish) {
  for (const DType type : real_types()) {
    const Values logits = {1000, 900, -1000, -3e4, -3e4, 3e4};
    const Losses actual = losses(runner_, type, logits, {1, 0}, 1);
    testing::expect_near(actual.loss, Values{100, 6e4}, 1e-4, 0);
    testing::expect_near(actual.d_logits, Values{1, -1, 0, -1, 0, 1}, 1e-30, 0);
  }
}

TEST_P(CrossEntropyTest, TheGradientMayBeAbsent) {
  RandomValues random(73);
  for (const DType type : real_types()) {
    const Values logits = random.normal(3 * 100, type, 2);
    const std::vector<std::int64_t> targets = {7, 99, -1};
    const TensorView x = runner_.tensor(type, {3, 100}, logits);
    const TensorView loss = runner_.empty(type, {3});
    runner_.run(cross_entropy, {.logits = x, .targets = runner_.i32({3}, targets), .weight = 1, .loss = loss});
    testing::expect_same(runner_.values(loss), losses(runner_, type, logits, targets, 1).loss);
    testing::expect_same(runner_.values(x), logits);
  }
}

TEST_P(CrossEntropyTest, BitsDoNotDependOnTheNumberOfRows) {
  RandomValues random(74);
  for (const DType type : real_types()) {
    const Values logits = random.normal(9 * 333, type, 2);
    const Losses all = losses(runner_, type, logits, std::vector<std::int64_t>(9, 5), 1);
    for (std::size_t row = 0; row < 9; ++row) {
      const Values one(logits.begin() + static_cast<std::ptrdiff_t>(row * 333),
                       logits.begin() + static_cast<std::ptrdiff_t>((row + 1) * 333));
      const Losses alone = losses(runner_, type, one, {5}, 1);
      EXPECT_EQ(alone.loss[0], all.loss[row]);
      testing::expect_same(alone.d_logits, std::span(all.d_logits).subspan(row * 333, 333));
    }
  }
}

}  // namespace
}  // namespace hadal::ops
