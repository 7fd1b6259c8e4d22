#include <cmath>
#include <limits>

#include "ops/backend_cases.h"
#include "ops/reference/reference_backend.h"
#include "ops/swiglu.h"
#include "testing/compare.h"
#include "testing/gradient_check.h"

namespace hadal::ops {
namespace {

using testing::OpRunner;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

HADAL_BACKEND_SUITE(SwigluBackwardTest);

struct Gradients {
  std::vector<double> gate;
  std::vector<double> up;
};

Gradients gradients(OpRunner& runner, DType type, const std::vector<double>& gate, const std::vector<double>& up,
                    double limit, const std::vector<double>& d_out) {
  const Shape shape{1, static_cast<std::int64_t>(gate.size())};
  const TensorView d_gate = runner.empty(type, shape);
  const TensorView d_up = runner.empty(type, shape);
  runner.run(swiglu_backward, {.gate = runner.tensor(type, shape, gate),
                               .up = runner.tensor(type, shape, up),
                               .limit = limit,
                               .d_out = runner.tensor(type, shape, d_out),
                               .d_gate = d_gate,
                               .d_up = d_up});
  return {.gate = runner.values(d_gate), .up = runner.values(d_up)};
}

/// The formulas in double.
Gradients expected(const std::vector<double>& gate, const std::vector<double>& up, double limit,
                   const std::vector<double>& d_out) {
  Gradients result;
  for (std::size_t i = 0; i < gate.size(); ++i) {
    const double g = limit > 0 ? std::min(gate[i], limit) : gate[i];
    const double u = limit > 0 ? std::max(-limit, std::min(up[i], limit)) : up[i];
    const double s = 1 / (1 + std::exp(-g));
    result.gate.push_back(limit > 0 && gate[i] > limit ? 0 : d_out[i] * u * s * (1 + g * (1 - s)));
    result.up.push_back(limit > 0 && std::abs(up[i]) > limit ? 0 : d_out[i] * g * s);
  }
  return result;
}

// Values on both sides of the clamps at 2, none near them.
TEST(SwigluBackwardGradient, AgreesWithDifferences) {
  testing::RandomValues random(311);
  const auto draw = [&] {
    std::vector<double> values = random.normal(200, DType::kF64, 3);
    for (double& value : values) {
      if (std::abs(std::abs(value) - 2) < 0.01) value = 0.5;
    }
    return values;
  };
  const std::vector<double> gate = draw();
  const std::vector<double> up = draw();
  const std::vector<double> d_out = random.normal(200, DType::kF64);
  for (const double limit : {0.0, 2.0}) {
    const auto loss = [&](const std::vector<double>& g, const std::vector<double>& u) {
      ReferenceBackend reference;
      OpRunner runner(reference);
      const TensorView out = runner.empty(DType::kF64, {1, 200});
      runner.run(swiglu, {.gate = runner.tensor(DType::kF64, {1, 200}, g),
                          .up = runner.tensor(DType::kF64, {1, 200}, u),
                          .limit = limit,
                          .out = out});
      return testing::inner_product(d_out, runner.values(out));
    };
    ReferenceBackend reference;
    OpRunner runner(reference);
    const Gradients claimed = gradients(runner, DType::kF64, gate, up, limit, d_out);
    testing::expect_gradient({.name = "swiglu_backward d_gate",
                              .type = DType::kF64,
                              .values = gate,
                              .gradient = claimed.gate,
                              .loss = [&](const std::vector<double>& g) { return loss(g, up); },
                              .samples = 60});
    testing::expect_gradient({.name = "swiglu_backward d_up",
                              .type = DType::kF64,
                              .values = up,
                              .gradient = claimed.up,
                              .loss = [&](const std::vector<double>& u) { return loss(gate, u); },
                              .samples = 60});
  }
}

TEST_P(SwigluBackwardTest, IsTheFormula) {
  testing::RandomValues random(312);
  for (const DType type : real_types()) {
    for (const double limit : {0.0, 2.0}) {
      for (const std::int64_t count : {1, 7, 16, 33, 1000, 1300}) {
        std::vector<double> gate = random.normal(count, type, 3);
        std::vector<double> up = random.normal(count, type, 3);
        if (count > 6) {
          gate[0] = up[1] = 2;  // at the clamp itself the gradient passes
          up[2] = -2;
          gate[3] = -80;
          gate[4] = limit > 0 ? 90 : 20;
        }
        const std::vector<double> d_out = random.normal(count, type);
        const Gradients actual = gradients(runner_, type, gate, up, limit, d_out);
        const Gradients wanted = expected(gate, up, limit, d_out);
        const double tolerance = 16 * testing::epsilon(type);
        testing::expect_near(actual.gate, wanted.gate, 4 * tolerance, tolerance);
        testing::expect_near(actual.up, wanted.up, tolerance, tolerance);
      }
    }
  }
}

TEST_P(SwigluBackwardTest, WorksInPlace) {
  testing::RandomValues random(313);
  for (const DType type : real_types()) {
    const std::vector<double> gate = random.normal(3 * 700, type);
    const std::vector<double> up = random.normal(3 * 700, type);
    const std::vector<double> d_out = random.normal(3 * 700, type);
    const Gradients apart = gradients(runner_, type, gate, up, 1, d_out);
    const auto tensor = [&](const std::vector<double>& values) { return runner_.tensor(type, {3, 700}, values); };
    const TensorView g = tensor(gate);
    const TensorView u = tensor(up);
    runner_.run(swiglu_backward, {.gate = g, .up = u, .limit = 1, .d_out = tensor(d_out), .d_gate = g, .d_up = u});
    testing::expect_same(runner_.values(g), apart.gate);
    testing::expect_same(runner_.values(u), apart.up);
    const TensorView swapped = tensor(up);
    const TensorView d = tensor(d_out);
    runner_.run(swiglu_backward,
                {.gate = tensor(gate), .up = swapped, .limit = 1, .d_out = d, .d_gate = swapped, .d_up = d});
    testing::expect_same(runner_.values(swapped), apart.gate);
    testing::expect_same(runner_.values(d), apart.up);
  }
}

TEST_P(SwigluBackwardTest, KeepsNan) {
  for (const DType type : real_types()) {
    const Gradients result = gradients(runner_, type, {kNan, 1, 1, 1}, {1, kNan, 1, 1}, 10, {1, 1, kNan, 1});
    for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(std::isnan(result.gate[i])) << i;
    EXPECT_TRUE(std::isnan(result.up[0]));
    EXPECT_TRUE(std::isnan(result.up[2]));
    EXPECT_FALSE(std::isnan(result.gate[3]) || std::isnan(result.up[3]));
  }
}

}  // namespace
}  // namespace hadal::ops
