#include "ops/rope.h"

#include <cmath>

#include "ops/backend_cases.h"
#include "testing/compare.h"
#include "testing/golden_file.h"

namespace hadal::ops {
namespace {

using testing::GoldenFile;

HADAL_BACKEND_SUITE(RopeTest);

TEST_P(RopeTest, GoldenTablesOfTheRealModelsUpToAMillion) {
  const GoldenFile units("units.safetensors");
  for (const std::string table : {"rope.main.", "rope.compress."}) {
    for (const DType type : real_types()) {
      for (const bool inverse : {false, true}) {
        const TensorView x = runner_.tensor(type, {11, 1, 512}, units.doubles("rope.input"));
        runner_.run(rope, {.x = x,
                           .positions = runner_.i64({11}, units.integers("rope.positions")),
                           .frequencies = runner_.tensor(DType::kF32, {32}, units.doubles(table + "frequencies")),
                           .inverse = inverse});
        testing::expect_golden(runner_.values(x), units.doubles(table + (inverse ? "inverse" : "output")), type);
      }
    }
  }
}

// Rotating (1, 0) gives the cosines and sines themselves.
TEST_P(RopeTest, CosinesAndSinesAreWithinTheirErrorAndNormalised) {
  const GoldenFile units("units.safetensors");
  for (const std::string table : {"rope.main.", "rope.compress."}) {
    for (const DType type : real_types()) {
      std::vector<double> ones;
      for (int i = 0; i < 11 * 32; ++i) ones.insert(ones.end(), {1.0, 0.0});
      const TensorView x = runner_.tensor(type, {11, 1, 64}, ones);
      runner_.run(rope, {.x = x,
                         .positions = runner_.i64({11}, units.integers("rope.positions")),
                         .frequencies = runner_.tensor(DType::kF32, {32}, units.doubles(table + "frequencies")),
                         .inverse = false});
      const std::vector<double> rotated = runner_.values(x);
      const std::vector<double> cosines = units.doubles(table + "cos");
      const std::vector<double> sines = units.doubles(table + "sin");
      const double bound = type == DType::kF64 ? 0x1p-24 : 2e-7;
      for (std::size_t i = 0; i < cosines.size(); ++i) {
        EXPECT_LE(std::abs(rotated[2 * i] - cosines[i]), bound);
        EXPECT_LE(std::abs(rotated[2 * i + 1] - sines[i]), bound);
      }
    }
  }
}

// Around 2^16 and 2^20 and beyond float's whole numbers, each head like a row of its own, other channels untouched.
TEST_P(RopeTest, PositionsAroundPowersOfTwoAgreeWithTheFloatAngle) {
  const std::vector<std::int64_t> positions = {0, 1, 65535, 65536, 65537, 1048575, 1048576, 1048577, 16777217};
  const auto rows = static_cast<std::int64_t>(positions.size());
  const std::vector<double> frequencies = {1.0, testing::as_stored(DType::kF32, 0.0123)};
  testing::RandomValues random(7);
  for (const DType type : real_types()) {
    const std::vector<double> before = random.normal(rows * 3 * 6, type);
    const TensorView x = runner_.tensor(type, {rows, 3, 6}, before);
    runner_.run(rope, {.x = x,
                       .positions = runner_.i64({rows}, positions),
                       .frequencies = runner_.tensor(DType::kF32, {2}, frequencies),
                       .inverse = false});
    std::vector<double> expected = before;
    for (std::size_t row = 0; row < positions.size(); ++row) {
      for (std::size_t pair = 0; pair < 2; ++pair) {
        const float angle = static_cast<float>(positions[row]) * static_cast<float>(frequencies[pair]);
        const double cosine = std::cos(static_cast<double>(angle));
        const double sine = std::sin(static_cast<double>(angle));
        for (std::size_t head = 0; head < 3; ++head) {
          const std::size_t at = (row * 3 + head) * 6 + 2 + 2 * pair;
          expected[at] = before[at] * cosine - before[at + 1] * sine;
          expected[at + 1] = before[at] * sine + before[at + 1] * cosine;
        }
      }
    }
    const double bound = type == DType::kF64 ? 1e-14 : 3e-6;
    testing::expect_near(runner_.values(x), expected, bound, 0);
  }
}

TEST_P(RopeTest, TheInverseUndoesTheRotation) {
  testing::RandomValues random(8);
  for (const DType type : real_types()) {
    const std::vector<double> before = random.normal(2 * 2 * 8, type);
    const TensorView x = runner_.tensor(type, {2, 2, 8}, before);
    const TensorView positions = runner_.i64({2}, {3, 999999});
    const TensorView frequencies = runner_.tensor(DType::kF32, {4}, {1, 0.1, 0.01, 0.001});
    runner_.run(rope, {.x = x, .positions = positions, .frequencies = frequencies, .inverse = false});
    runner_.run(rope, {.x = x, .positions = positions, .frequencies = frequencies, .inverse = true});
    testing::expect_near(runner_.values(x), before, type == DType::kF64 ? 1e-14 : 3e-6, 0);
  }
}

}  // namespace
}  // namespace hadal::ops
