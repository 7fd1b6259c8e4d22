#include "ops/linear.h"

#include <cmath>

#include "ops/backend_cases.h"
#include "ops/grouped_linear.h"
#include "ops/weight_cases.h"
#include "testing/compare.h"

namespace hadal::ops {
namespace {

using testing::WeightCase;

HADAL_BACKEND_SUITE(LinearTest);

DType sum_type(DType type) { return type == DType::kF64 ? DType::kF64 : DType::kF32; }

/// out[row][n] within K eps sum |x||w| of the sum in double. F32 scales are rounded into the weight by f32 arithmetic.
void check_products(const std::vector<double>& actual, const std::vector<double>& input,
                    const std::vector<double>& weight, std::int64_t rows, std::int64_t outputs, std::int64_t length,
                    DType type) {
  ASSERT_EQ(static_cast<std::int64_t>(actual.size()), rows * outputs);
  const double eps = static_cast<double>(length + 4) * testing::epsilon(sum_type(type));
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t n = 0; n < outputs; ++n) {
      double sum = 0;
      double magnitude = 0;
      for (std::int64_t k = 0; k < length; ++k) {
        const double product =
            input[static_cast<std::size_t>(row * length + k)] * weight[static_cast<std::size_t>(n * length + k)];
        sum += product;
        magnitude += std::abs(product);
      }
      ASSERT_LE(std::abs(actual[static_cast<std::size_t>(row * outputs + n)] - sum), eps * magnitude)
          << "row " << row << " output " << n;
    }
  }
}

TEST_P(LinearTest, EveryWeightFormatAndInputType) {
  testing::RandomValues random(91);
  for (const DType type : product_types()) {
    for (const auto& [outputs, length] :
         std::vector<std::pair<std::int64_t, std::int64_t>>{{1, 32}, {3, 96}, {130, 160}, {129, 256}, {5, 1024}}) {
      for (const WeightCase& weight : testing::weight_cases(random, outputs, length)) {
        SCOPED_TRACE(weight.name);
        const std::vector<double> input = random.normal(5 * length, type);
        const TensorView out = runner_.empty(sum_type(type), {5, outputs}, 3);
        runner_.run(linear,
                    {.input = runner_.tensor(type, {5, length}, input, 8), .weight = weight.make(runner_), .out = out});
        check_products(runner_.values(out), input, weight.values, 5, outputs, length, type);
      }
    }
  }
}

// Lengths that are no multiple of any lane count or tile.
TEST_P(LinearTest, OddLengths) {
  testing::RandomValues random(92);
  for (const DType type : product_types()) {
    for (const std::int64_t length : {1, 2, 7, 15, 16, 17, 31, 33, 63, 65, 127, 129, 200, 300}) {
      for (const WeightCase& weight : testing::odd_weight_cases(random, 9, length)) {
        SCOPED_TRACE(weight.name);
        const std::vector<double> input = random.normal(2 * length, type);
        const TensorView out = runner_.empty(sum_type(type), {2, 9});
        runner_.run(linear,
                    {.input = runner_.tensor(type, {2, length}, input), .weight = weight.make(runner_), .out = out});
        check_products(runner_.values(out), input, weight.values, 2, 9, length, type);
      }
    }
  }
}

TEST_P(LinearTest, BitsDoNotDependOnTheNumberOfRows) {
  testing::RandomValues random(93);
  for (const DType type : product_types()) {
    for (const WeightCase& weight : testing::weight_cases(random, 37, 288)) {
      SCOPED_TRACE(weight.name);
      const std::vector<double> input = random.normal(70 * 288, type);
      const Weight prepared = weight.make(runner_);
      const TensorView x = runner_.tensor(type, {70, 288}, input);
      const TensorView all = runner_.empty(sum_type(type), {70, 37});
      runner_.run(linear, {.input = x, .weight = prepared, .out = all});
      const std::vector<double> expected = runner_.values(all);
      for (const std::int64_t rows : {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 31, 33, 64}) {
        const std::int64_t begin = 70 - rows;
        const TensorView out = runner_.empty(sum_type(type), {rows, 37});
        runner_.run(linear, {.input = x.rows(begin, rows), .weight = prepared, .out = out});
        testing::expect_same(runner_.values(out), std::span(expected).subspan(static_cast<std::size_t>(begin * 37)));
      }
    }
  }
}

TEST_P(LinearTest, NanAndInfinityStayInTheirRow) {
  testing::RandomValues random(94);
  for (const DType type : product_types()) {
    std::vector<double> input = random.normal(3 * 64, type);
    input[64 + 5] = std::numeric_limits<double>::quiet_NaN();
    input[128 + 7] = std::numeric_limits<double>::infinity();
    const std::vector<double> weight(64 * 2, 1.0);
    const TensorView out = runner_.empty(sum_type(type), {3, 2});
    runner_.run(linear, {.input = runner_.tensor(type, {3, 64}, input),
                         .weight = runner_.weight(DType::kBf16, {2, 64}, weight),
                         .out = out});
    const std::vector<double> values = runner_.values(out);
    EXPECT_TRUE(std::isfinite(values[0]) && std::isfinite(values[1]));
    EXPECT_TRUE(std::isnan(values[2]) && std::isnan(values[3]));
    EXPECT_TRUE(std::isinf(values[4]) && std::isinf(values[5]));
  }
}

TEST_P(LinearTest, GroupsAreLinearsOfTheirSlices) {
  testing::RandomValues random(95);
  for (const DType type : product_types()) {
    for (const WeightCase& weight : testing::weight_cases(random, 2 * 128, 96)) {
      SCOPED_TRACE(weight.name);
      const std::vector<double> input = random.normal(4 * 2 * 96, type);
      const TensorView x = runner_.tensor(type, {4, 2 * 96}, input);
      const TensorView out = runner_.empty(sum_type(type), {4, 2 * 128});
      runner_.run(grouped_linear, {.input = x, .weight = weight.make(runner_), .groups = 2, .out = out});
      const std::vector<double> grouped = runner_.values(out);
      for (std::int64_t group = 0; group < 2; ++group) {
        std::vector<double> slice;
        std::vector<double> part;
        for (std::int64_t row = 0; row < 4; ++row) {
          const auto in = input.begin() + row * 192 + group * 96;
          slice.insert(slice.end(), in, in + 96);
          const auto result = grouped.begin() + row * 256 + group * 128;
          part.insert(part.end(), result, result + 128);
        }
        const auto rows = weight.values.begin() + group * 128 * 96;
        check_products(part, slice, {rows, rows + 128 * 96}, 4, 128, 96, type);
      }
    }
  }
}

}  // namespace
}  // namespace hadal::ops
