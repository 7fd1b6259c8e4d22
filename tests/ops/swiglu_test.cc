#include "ops/swiglu.h"

#include <cmath>
#include <limits>

#include "ops/backend_cases.h"
#include "testing/compare.h"
#include "testing/golden_file.h"

namespace hadal::ops {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

HADAL_BACKEND_SUITE(SwigluTest);

TEST_P(SwigluTest, Golden) {
  const testing::GoldenFile units("units.safetensors");
  for (const DType type : real_types()) {
    const TensorView gate = runner_.tensor(type, {1, 64}, units.doubles("swiglu.gate"));
    runner_.run(
        swiglu,
        {.gate = gate, .up = runner_.tensor(type, {1, 64}, units.doubles("swiglu.up")), .limit = 10, .out = gate});
    testing::expect_golden(runner_.values(gate), units.doubles("swiglu.output"), type);
  }
}

TEST_P(SwigluTest, ClampsTheGateFromAboveOnlyAndLimitZeroDoesNot) {
  const auto silu = [](double x) { return x / (1 + std::exp(-x)); };
  for (const DType type : real_types()) {
    const std::vector<double> gate = {50, -50, 3, 3, 0, -0.0};
    const std::vector<double> up = {1, 1, 50, -50, 2, 2};
    const auto run = [&](double limit) {
      const TensorView out = runner_.empty(type, {2, 3});
      runner_.run(swiglu, {.gate = runner_.tensor(type, {2, 3}, gate),
                           .up = runner_.tensor(type, {2, 3}, up),
                           .limit = limit,
                           .out = out});
      return runner_.values(out);
    };
    const double relative = 8 * testing::epsilon(type);
    testing::expect_near(run(10), std::vector<double>{silu(10), silu(-50), silu(3) * 10, silu(3) * -10, 0, 0}, 0,
                         relative);
    testing::expect_near(run(0), std::vector<double>{silu(50), silu(-50), silu(3) * 50, silu(3) * -50, 0, 0}, 0,
                         relative);
  }
}

TEST_P(SwigluTest, RoundsOnceToBf16AndKeepsNan) {
  testing::RandomValues random(41);
  for (const DType type : real_types()) {
    const std::vector<double> gate = random.normal(33, type, 3);
    const std::vector<double> up = random.normal(33, type, 3);
    const auto run = [&](DType out_type) {
      const TensorView out = runner_.empty(out_type, {1, 33});
      runner_.run(swiglu, {.gate = runner_.tensor(type, {1, 33}, gate),
                           .up = runner_.tensor(type, {1, 33}, up),
                           .limit = 10,
                           .out = out});
      return runner_.values(out);
    };
    const std::vector<double> wide = run(type);
    const std::vector<double> narrow = run(DType::kBf16);
    for (std::size_t i = 0; i < wide.size(); ++i) EXPECT_EQ(narrow[i], testing::as_stored(DType::kBf16, wide[i]));

    const TensorView out = runner_.empty(type, {1, 4});
    runner_.run(swiglu, {.gate = runner_.tensor(type, {1, 4}, {kNan, 1, kInfinity, 1}),
                         .up = runner_.tensor(type, {1, 4}, {1, kNan, 1, kInfinity}),
                         .limit = 10,
                         .out = out});
    const std::vector<double> edges = runner_.values(out);
    EXPECT_TRUE(std::isnan(edges[0]));
    EXPECT_TRUE(std::isnan(edges[1]));
    EXPECT_NEAR(edges[2], 10 / (1 + std::exp(-10.0)), 1e-5);
    EXPECT_NEAR(edges[3], 10 / (1 + std::exp(-1.0)), 1e-5);
  }
}

}  // namespace
}  // namespace hadal::ops
