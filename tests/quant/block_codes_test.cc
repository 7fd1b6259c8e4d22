#include "quant/block_codes.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "base/philox.h"
#include "tensor/scalar.h"

namespace hadal::quant {
namespace {

struct Codes {
  std::vector<std::byte> codes;
  std::vector<std::byte> scales;
};

Codes quantized(const std::vector<float>& values, MatrixShape shape, CodeFormat format) {
  Codes result{std::vector<std::byte>(static_cast<std::size_t>(code_bytes(shape, format))),
               std::vector<std::byte>(static_cast<std::size_t>(scale_shape(shape, format).elements()))};
  quantize(values, shape, format, result.codes, result.scales);
  return result;
}

std::vector<float> values_of(const Codes& codes, MatrixShape shape, CodeFormat format) {
  std::vector<float> values(static_cast<std::size_t>(shape.elements()));
  dequantize(codes.codes, codes.scales, shape, format, values);
  return values;
}

/// Uniform in [-1, 1] times a power of two that differs from block to block.
std::vector<float> random_matrix(MatrixShape shape, std::uint32_t seed) {
  std::vector<float> values(static_cast<std::size_t>(shape.elements()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto bits = philox({static_cast<std::uint32_t>(i), 0, 0, 0}, {seed, 0});
    const auto block = philox({static_cast<std::uint32_t>(i / 32), 1, 0, 0}, {seed, 0});
    const float unit = (static_cast<float>(bits[0] >> 8) * 0x1p-23F - 1);
    values[i] = std::ldexp(unit, static_cast<int>(block[0] % 24) - 16);
  }
  return values;
}

TEST(BlockCodes, ScaleIsThePowerOfTwoAboveTheQuotient) {
  const auto fp8 = [](float amax) { return e8m0_to_f32(scale_code(amax, CodeFormat::kFp8Tile128)); };
  const auto fp4 = [](float amax) { return e8m0_to_f32(scale_code(amax, CodeFormat::kFp4Block32)); };
  EXPECT_EQ(fp8(448), 1);
  EXPECT_EQ(fp8(std::nextafter(448.0F, 1000.0F)), 2);
  EXPECT_EQ(fp8(224), 0.5F);
  EXPECT_EQ(fp8(224.5F), 1);
  EXPECT_EQ(fp8(0), 0x1p-117F);
  EXPECT_EQ(fp8(1e-40F), 0x1p-117F);
  EXPECT_EQ(fp8(3e38F), 0x1p120F);
  EXPECT_EQ(fp4(6), 1);
  EXPECT_EQ(fp4(std::nextafter(6.0F, 7.0F)), 2);
  EXPECT_EQ(fp4(3), 0.5F);
  EXPECT_EQ(fp4(0), 0x1p-126F);
  EXPECT_EQ(fp4(3e38F), 0x1p126F);
}

TEST(BlockCodes, EveryCodeReturnsAsItself) {
  // A row of 128 x 2 with all finite E4M3 codes at scale 1; 448 is among them.
  const MatrixShape fp8_shape{2, 128};
  std::vector<float> values(256);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto code = static_cast<std::uint8_t>(i);
    values[i] = (code & 0x7F) == 0x7F ? 0 : e4m3_to_f32(code);
  }
  const Codes fp8 = quantized(values, fp8_shape, CodeFormat::kFp8Tile128);
  ASSERT_EQ(fp8.scales.size(), 1U);
  EXPECT_EQ(fp8.scales[0], std::byte{127});
  for (std::size_t i = 0; i < 256; ++i) {
    const bool zero = values[i] == 0;  // NaN's places, and -0
    EXPECT_EQ(fp8.codes[i], zero ? std::byte{0} : static_cast<std::byte>(i)) << i;
  }
  // 32 FP4 values: each code twice.
  std::vector<float> pairs(32);
  for (std::size_t i = 0; i < pairs.size(); ++i) pairs[i] = 0.25F * e2m1_to_f32(static_cast<std::uint8_t>(i / 2));
  const Codes fp4 = quantized(pairs, {1, 32}, CodeFormat::kFp4Block32);
  EXPECT_EQ(fp4.scales[0], std::byte{125});
  for (std::size_t i = 0; i < 16; ++i) {
    const std::size_t code = i == 8 ? 0 : i;
    EXPECT_EQ(fp4.codes[i], static_cast<std::byte>(code | code << 4)) << i;
  }
}

TEST(BlockCodes, TiesGoToEven) {
  // With 448 in the tile the scale is 1: spacing 32 at the top, 1/512 at the bottom.
  std::vector<float> values(128, 0);
  values[0] = 448;
  values[1] = 272;           // between 256 (mantissa 0) and 288 (1)
  values[2] = 304;           // between 288 (1) and 320 (2)
  values[3] = 0x1p-10F;      // between 0 and 2^-9
  values[4] = 3 * 0x1p-10F;  // between 2^-9 and 2^-8
  values[5] = -3 * 0x1p-10F;
  const auto rounded =
      values_of(quantized(values, {1, 128}, CodeFormat::kFp8Tile128), {1, 128}, CodeFormat::kFp8Tile128);
  EXPECT_EQ(rounded[1], 256);
  EXPECT_EQ(rounded[2], 320);
  EXPECT_EQ(rounded[3], 0);
  EXPECT_EQ(rounded[4], 0x1p-8F);
  EXPECT_EQ(rounded[5], -0x1p-8F);
  std::vector<float> small(32, 0);
  small[0] = 6;
  small[1] = 0.25F;  // to 0
  small[2] = 0.75F;  // to 1
  small[3] = 2.5F;   // to 2
  small[4] = 3.5F;   // to 4
  small[5] = -5;     // to -4
  const auto fp4 = values_of(quantized(small, {1, 32}, CodeFormat::kFp4Block32), {1, 32}, CodeFormat::kFp4Block32);
  EXPECT_EQ(fp4[1], 0);
  EXPECT_EQ(fp4[2], 1);
  EXPECT_EQ(fp4[3], 2);
  EXPECT_EQ(fp4[4], 4);
  EXPECT_EQ(fp4[5], -4);
}

class BothFormats : public ::testing::TestWithParam<CodeFormat> {};

TEST_P(BothFormats, RoundingAndCodesAgreeToTheBit) {
  const MatrixShape shape{300, 160};  // tiles of 128 are cut at both edges
  const auto values = random_matrix(shape, 5);
  const auto expected = values_of(quantized(values, shape, GetParam()), shape, GetParam());
  std::vector<float> rounded(values.size());
  round_to_codes(values, shape, GetParam(), rounded);
  EXPECT_EQ(std::memcmp(rounded.data(), expected.data(), rounded.size() * sizeof(float)), 0);
  for (const float value : rounded) ASSERT_EQ(to_f32(to_bf16(value)), value);
}

TEST_P(BothFormats, RoundedValuesStayAndKeepTheirCodes) {
  const MatrixShape shape{256, 256};
  const auto values = random_matrix(shape, 6);
  const Codes first = quantized(values, shape, GetParam());
  const auto rounded = values_of(first, shape, GetParam());
  const Codes second = quantized(rounded, shape, GetParam());
  EXPECT_EQ(values_of(second, shape, GetParam()), rounded);
  // Codes may differ only where the block's largest value came down to a power of two's edge and halved the scale.
  std::size_t halved = 0;
  for (std::size_t block = 0; block < first.scales.size(); ++block) {
    const int change = std::to_integer<int>(first.scales[block]) - std::to_integer<int>(second.scales[block]);
    ASSERT_TRUE(change == 0 || change == 1);
    halved += static_cast<std::size_t>(change);
  }
  EXPECT_LT(halved, first.scales.size() / 5 + 1);
  if (halved == 0) {
    EXPECT_EQ(first.codes, second.codes);
  }
}

TEST_P(BothFormats, ErrorIsBoundedAndUnbiased) {
  const MatrixShape shape{512, 512};
  std::vector<float> values(static_cast<std::size_t>(shape.elements()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto bits = philox({static_cast<std::uint32_t>(i), 0, 0, 0}, {9, 0});
    values[i] = static_cast<float>(bits[0] >> 8) * 0x1p-23F - 1;
  }
  std::vector<float> rounded(values.size());
  round_to_codes(values, shape, GetParam(), rounded);
  // Half a spacing, relative to the value: 2^-4 of E4M3 and 2^-2 of E2M1; absolute below the normal codes.
  const bool fp8 = GetParam() == CodeFormat::kFp8Tile128;
  const double relative = fp8 ? 0x1p-4 : 0x1p-2;
  const double absolute = fp8 ? 0x1p-10 * 0x1p-8 : 0x1p-2 * 0x1p-2;
  double sum = 0;
  double squares = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double error = double{rounded[i]} - double{values[i]};
    ASSERT_LE(std::abs(error), std::max(relative * std::abs(double{values[i]}), absolute)) << values[i];
    sum += error;
    squares += error * error;
  }
  const auto count = static_cast<double>(values.size());
  EXPECT_LT(std::abs(sum / count), 4 * std::sqrt(squares / count / count));
}

TEST_P(BothFormats, ZerosStayZero) {
  const MatrixShape shape{128, 128};
  std::vector<float> values(static_cast<std::size_t>(shape.elements()), -0.0F);
  const Codes codes = quantized(values, shape, GetParam());
  for (const std::byte code : codes.codes) EXPECT_EQ(code, std::byte{0});
  round_to_codes(values, shape, GetParam(), values);
  for (const float value : values) EXPECT_FALSE(std::signbit(value));
}

INSTANTIATE_TEST_SUITE_P(Formats, BothFormats, ::testing::Values(CodeFormat::kFp8Tile128, CodeFormat::kFp4Block32));

}  // namespace
}  // namespace hadal::quant
