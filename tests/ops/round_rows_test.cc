#include "ops/round_rows.h"

#include <cmath>
#include <limits>

#include "ops/backend_cases.h"
#include "ops/reference/round_rows.h"
#include "testing/compare.h"
#include "testing/golden_file.h"

namespace hadal::ops {
namespace {

using testing::GoldenFile;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

struct Format {
  std::string name;
  Rounding rounding;
};
const Format kFormats[] = {
    {"fp8_64.", Rounding::kFp8Block64}, {"fp8_128.", Rounding::kFp8Block128}, {"fp4_32.", Rounding::kFp4Block32}};

HADAL_BACKEND_SUITE(RoundRowsTest);
HADAL_REFERENCE_SUITE(RoundRowsReferenceTest);

TEST_P(RoundRowsTest, GoldenOutputsToTheBit) {
  const GoldenFile units("units.safetensors");
  for (const Format& format : kFormats) {
    const Shape shape = units.shape(format.name + "input");
    const std::vector<double> golden = units.doubles(format.name + "output");
    for (const DType type : real_types()) {
      for (const DType out_type : {type, DType::kBf16}) {
        const TensorView out = runner_.empty(out_type, shape);
        runner_.run(round_rows, {.input = runner_.tensor(type, shape, units.doubles(format.name + "input"), 3),
                                 .out = out,
                                 .rounding = format.rounding,
                                 .channels = shape[1]});
        // The scales are powers of two, so bf16 holds every result.
        testing::expect_near(runner_.values(out), golden, 0, 0);
      }
    }
  }
}

// The codes and scale bytes belong to the reference: other backends hold only the products.
TEST(RoundRowsReference, GoldenCodesAndScaleBytesToTheBit) {
  const GoldenFile units("units.safetensors");
  const auto check = [&]<class T>(T) {
    for (const Format& format : kFormats) {
      const std::vector<float> input = units.floats(format.name + "input");
      const std::vector<T> values(input.begin(), input.end());
      const std::vector<std::int64_t> codes = units.integers(format.name + "codes");
      const std::vector<std::int64_t> scales = units.integers(format.name + "scale_bytes");
      const std::int64_t length = block_length(format.rounding);
      for (std::size_t block = 0; block < scales.size(); ++block) {
        const std::size_t begin = block * static_cast<std::size_t>(length);
        const std::uint8_t scale = reference::block_scale(&values[begin], length, format.rounding);
        ASSERT_EQ(scale, scales[block]) << format.name << " block " << block;
        for (std::size_t i = begin; i < begin + static_cast<std::size_t>(length); ++i) {
          ASSERT_EQ(reference::block_code(values[i], static_cast<T>(e8m0_to_f32(scale)), format.rounding), codes[i])
              << format.name << " element " << i << " value " << values[i];
        }
      }
    }
  };
  check(float{});
  check(double{});
}

TEST(RoundRowsReference, GoldenValuesOfEveryCode) {
  const GoldenFile units("units.safetensors");
  const std::vector<float> e4m3 = units.floats("e4m3.values");
  for (std::size_t code = 0; code < 256; ++code) {
    const float value = e4m3_to_f32(static_cast<std::uint8_t>(code));
    EXPECT_TRUE(value == e4m3[code] || (std::isnan(value) && std::isnan(e4m3[code]))) << code;
  }
  const std::vector<float> e2m1 = units.floats("e2m1.values");
  for (std::size_t code = 0; code < 16; ++code) EXPECT_EQ(e2m1_to_f32(static_cast<std::uint8_t>(code)), e2m1[code]);
}

TEST_P(RoundRowsTest, ChannelsBehindTheBlocksAreOnlyConverted) {
  testing::RandomValues random(11);
  for (const DType type : real_types()) {
    const std::vector<double> input = random.normal(3 * 80, type);
    const TensorView out = runner_.empty(DType::kBf16, {3, 80});
    runner_.run(
        round_rows,
        {.input = runner_.tensor(type, {3, 80}, input), .out = out, .rounding = Rounding::kFp8Block64, .channels = 64});
    const std::vector<double> values = runner_.values(out);
    for (std::size_t row = 0; row < 3; ++row) {
      for (std::size_t c = 64; c < 80; ++c) {
        EXPECT_EQ(values[row * 80 + c], testing::as_stored(DType::kBf16, input[row * 80 + c]));
      }
    }
  }
}

TEST_P(RoundRowsTest, WorksInPlaceAndTwiceIsOnce) {
  testing::RandomValues random(12);
  for (const Format& format : kFormats) {
    for (const DType type : real_types()) {
      const TensorView x = runner_.tensor(type, {5, 256}, random.normal(5 * 256, type, 30));
      const RoundRows::Args args{.input = x, .out = x, .rounding = format.rounding, .channels = 256};
      runner_.run(round_rows, args);
      const std::vector<double> once = runner_.values(x);
      runner_.run(round_rows, args);
      testing::expect_same(runner_.values(x), once);
    }
  }
}

TEST_P(RoundRowsTest, NoneConvertsToNearestEven) {
  for (const DType type : real_types()) {
    const std::vector<double> input = {1 + 0x1p-8, 1 + 3 * 0x1p-8, -1 - 0x1p-8, 0x1p-133, kInfinity, kNan, -0.0, 1e30};
    const TensorView out = runner_.empty(DType::kBf16, {1, 8});
    runner_.run(round_rows,
                {.input = runner_.tensor(type, {1, 8}, input), .out = out, .rounding = Rounding::kNone, .channels = 0});
    testing::expect_same(runner_.values(out), std::vector<double>{1, 1 + 0x1p-6, -1, 0x1p-133, kInfinity, kNan, -0.0,
                                                                  testing::as_stored(DType::kBf16, 1e30)});
  }
}

// A double just above a tie of the coarse grid must not fall on the tie by way of float32.
TEST_P(RoundRowsReferenceTest, DoublesAreRoundedOnce) {
  const double just_above = 1 + 0x1p-8 + 0x1p-40;
  const TensorView out = runner_.empty(DType::kBf16, {1, 1});
  runner_.run(round_rows, {.input = runner_.tensor(DType::kF64, {1, 1}, {just_above}),
                           .out = out,
                           .rounding = Rounding::kNone,
                           .channels = 0});
  EXPECT_EQ(runner_.values(out).front(), 1 + 0x1p-7);

  // 17 lies midway between the codes 16 and 18 of a block with scale 1.
  std::vector<double> block(64, 0.0);
  block[0] = 448;
  block[1] = 17 + 0x1p-40;
  block[2] = 17 - 0x1p-40;
  block[3] = 17;
  const TensorView x = runner_.tensor(DType::kF64, {1, 64}, block);
  runner_.run(round_rows, {.input = x, .out = x, .rounding = Rounding::kFp8Block64, .channels = 64});
  const std::vector<double> rounded = runner_.values(x);
  EXPECT_EQ(rounded[1], 18);
  EXPECT_EQ(rounded[2], 16);
  EXPECT_EQ(rounded[3], 16);
}

TEST_P(RoundRowsTest, NanAndInfinityStayInTheirBlock) {
  testing::RandomValues random(13);
  for (const Rounding rounding : {Rounding::kFp8Block128, Rounding::kFp8Block64}) {
    for (const DType type : real_types()) {
      std::vector<double> input = random.normal(384, type);
      input[5] = kNan;
      input[130] = -kInfinity;
      const TensorView out = runner_.empty(type, {1, 384});
      runner_.run(round_rows,
                  {.input = runner_.tensor(type, {1, 384}, input), .out = out, .rounding = rounding, .channels = 384});
      const std::vector<double> values = runner_.values(out);
      EXPECT_TRUE(std::isnan(values[5]));
      EXPECT_TRUE(std::isnan(values[130]));
      for (std::size_t i = 256; i < 384; ++i)
        ASSERT_LE(std::abs(values[i] - input[i]), 0.07 * std::abs(input[i]) + 1e-3);
    }
  }
}

}  // namespace
}  // namespace hadal::ops
