#include "ops/hadamard.h"

#include <bit>
#include <cmath>

#include "ops/backend_cases.h"
#include "testing/compare.h"
#include "testing/golden_file.h"

namespace hadal::ops {
namespace {

HADAL_BACKEND_SUITE(HadamardTest);

TEST_P(HadamardTest, Golden) {
  const testing::GoldenFile units("units.safetensors");
  for (const DType type : real_types()) {
    const TensorView x = runner_.tensor(type, {6, 128}, units.doubles("hadamard.input"));
    runner_.run(hadamard, {.x = x});
    testing::expect_golden_rows(runner_.values(x), units.doubles("hadamard.output"), 128, type);
  }
}

TEST_P(HadamardTest, IsTheMatrixOfItsDefinitionAndItsOwnInverse) {
  testing::RandomValues random(21);
  for (const DType type : real_types()) {
    for (const std::int64_t channels : {1, 2, 8, 32, 64, 256}) {
      const std::vector<double> input = random.normal(channels, type);
      std::vector<double> expected;
      for (std::int64_t i = 0; i < channels; ++i) {
        double sum = 0;
        for (std::int64_t j = 0; j < channels; ++j) {
          const bool negative = std::popcount(static_cast<std::uint64_t>(i & j)) % 2 == 1;
          sum += negative ? -input[static_cast<std::size_t>(j)] : input[static_cast<std::size_t>(j)];
        }
        expected.push_back(sum / std::sqrt(static_cast<double>(channels)));
      }
      const TensorView x = runner_.tensor(type, {1, channels}, input);
      runner_.run(hadamard, {.x = x});
      // One rounding a level and value, each a part of the row's norm.
      const double norm = std::sqrt(static_cast<double>(channels));
      testing::expect_near(runner_.values(x), expected, 20 * norm * testing::epsilon(type), 0);
      runner_.run(hadamard, {.x = x});
      testing::expect_near(runner_.values(x), input, 40 * norm * testing::epsilon(type), 0);
    }
  }
}

}  // namespace
}  // namespace hadal::ops
