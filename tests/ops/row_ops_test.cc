#include <cmath>
#include <limits>

#include "ops/add.h"
#include "ops/add_position_bias.h"
#include "ops/argmax.h"
#include "ops/backend_cases.h"
#include "ops/embedding.h"
#include "ops/gather_rows.h"
#include "testing/compare.h"

namespace hadal::ops {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

HADAL_BACKEND_SUITE(RowOpsTest);

TEST_P(RowOpsTest, EmbeddingRepeatsTheRowInEveryStream) {
  testing::RandomValues random(121);
  for (const DType table_type : {DType::kF32, DType::kBf16}) {
    const std::vector<double> table = random.normal(5 * 33, table_type);
    for (const DType type : product_types()) {
      const TensorView out = runner_.empty(type, {3, 2, 33});
      runner_.run(
          embedding,
          {.tokens = runner_.i64({3}, {4, 0, 4}), .table = runner_.weight(table_type, {5, 33}, table), .out = out});
      std::vector<double> expected;
      for (const std::size_t token : {4U, 4U, 0U, 0U, 4U, 4U}) {
        for (std::size_t c = 0; c < 33; ++c) expected.push_back(testing::as_stored(type, table[token * 33 + c]));
      }
      testing::expect_same(runner_.values(out), expected);
    }
  }
}

TEST_P(RowOpsTest, GatherConvertsBetweenStridedRows) {
  testing::RandomValues random(122);
  for (const DType type : product_types()) {
    for (const DType out_type : product_types()) {
      const std::vector<double> input = random.normal(6 * 19, type);
      const TensorView out = runner_.empty(out_type, {4, 19}, 2);
      runner_.run(
          gather_rows,
          {.input = runner_.tensor(type, {6, 19}, input, 5), .index = runner_.i32({4}, {5, 0, 5, 3}), .out = out});
      std::vector<double> expected;
      for (const std::size_t row : {5U, 0U, 5U, 3U}) {
        for (std::size_t c = 0; c < 19; ++c) expected.push_back(testing::as_stored(out_type, input[row * 19 + c]));
      }
      testing::expect_same(runner_.values(out), expected);
    }
  }
}

TEST_P(RowOpsTest, AddRepeatsTheRowsOfB) {
  testing::RandomValues random(123);
  for (const DType type : real_types()) {
    for (const std::int64_t repeat : {1, 3}) {
      const std::vector<double> a = random.normal(6 * 21, type);
      const std::vector<double> b = random.normal(6 / repeat * 21, type);
      const TensorView x = runner_.tensor(type, {6, 21}, a);
      runner_.run(add, {.a = x, .b = runner_.tensor(type, {6 / repeat, 21}, b), .repeat = repeat, .out = x});
      std::vector<double> expected;
      for (std::size_t row = 0; row < 6; ++row) {
        for (std::size_t c = 0; c < 21; ++c) {
          expected.push_back(
              testing::as_stored(type, a[row * 21 + c] + b[row / static_cast<std::size_t>(repeat) * 21 + c]));
        }
      }
      testing::expect_same(runner_.values(x), expected);
    }
  }
}

TEST_P(RowOpsTest, PositionBiasRepeatsWithItsPeriodAtAnyPosition) {
  testing::RandomValues random(124);
  const std::vector<std::int64_t> positions = {0, 3, 4, 65535, 1048577, (std::int64_t{1} << 40) + 2};
  for (const DType type : real_types()) {
    const std::vector<double> input = random.normal(6 * 10, type);
    const std::vector<double> bias = random.normal(4 * 10, DType::kF32);
    const TensorView x = runner_.tensor(type, {6, 10}, input);
    runner_.run(add_position_bias,
                {.x = x, .positions = runner_.i64({6}, positions), .bias = runner_.weight(DType::kF32, {4, 10}, bias)});
    std::vector<double> expected;
    for (std::size_t row = 0; row < 6; ++row) {
      for (std::size_t c = 0; c < 10; ++c) {
        const double sum = input[row * 10 + c] + bias[static_cast<std::size_t>(positions[row] % 4) * 10 + c];
        expected.push_back(testing::as_stored(type, sum));
      }
    }
    testing::expect_same(runner_.values(x), expected);
  }
}

TEST_P(RowOpsTest, ArgmaxTakesTheLowerIndexAndNeverNanUnlessAllAre) {
  for (const DType type : real_types()) {
    const TensorView out = runner_.i64({6}, std::vector<std::int64_t>(6, -1));
    runner_.run(argmax, {.logits = runner_.tensor(type, {6, 4}, {1,    3,    3,          2,           //
                                                                 kNan, -5,   kNan,       -5,          //
                                                                 kNan, kNan, kNan,       kNan,        //
                                                                 -9,   1,    kInfinity,  kInfinity,   //
                                                                 kNan, kNan, -kInfinity, -kInfinity,  //
                                                                 -0.0, 0.0,  -1,         0.0}),
                         .out = out});
    EXPECT_EQ(runner_.integers(out), (std::vector<std::int64_t>{1, 1, 0, 2, 2, 0}));
  }
}

TEST_P(RowOpsTest, ArgmaxOfWideRowsFindsTheOneLargest) {
  testing::RandomValues random(125);
  for (const DType type : real_types()) {
    for (const std::int64_t width : {1, 15, 16, 17, 127, 1000}) {
      for (int trial = 0; trial < 4; ++trial) {
        std::vector<double> logits = random.normal(width, type);
        const std::int64_t best = random.integer(0, width - 1);
        logits[static_cast<std::size_t>(best)] = 100;
        // A second one behind it must not win.
        if (best + 1 < width) logits[static_cast<std::size_t>(random.integer(best + 1, width - 1))] = 100;
        const TensorView out = runner_.i64({1}, {-1});
        runner_.run(argmax, {.logits = runner_.tensor(type, {1, width}, logits), .out = out});
        EXPECT_EQ(runner_.integers(out).front(), best);
      }
    }
  }
}

}  // namespace
}  // namespace hadal::ops
