#include "tensor/scalar.h"

#include <gtest/gtest.h>

#include <cmath>

namespace hadal {
namespace {

// The nearest code by exhaustive search in double, ties to the even code: the definition the fast conversions must
// meet.
std::uint8_t nearest_code(double value, int codes, auto decode) {
  double best_distance = std::numeric_limits<double>::infinity();
  int best = 0;
  for (int code = 0; code < codes; ++code) {
    const double candidate = static_cast<double>(decode(static_cast<std::uint8_t>(code)));
    if (std::isnan(candidate)) continue;
    const double distance = std::abs(candidate - std::abs(value));
    if (distance < best_distance || (distance == best_distance && code % 2 == 0)) {
      best_distance = distance;
      best = code;
    }
  }
  return static_cast<std::uint8_t>(best);
}

TEST(Scalar, E4m3RoundsToNearestEvenOverAllCodesAndMidpoints) {
  for (int code = 0; code < 0x7F; ++code) {
    const float value = e4m3_to_f32(static_cast<std::uint8_t>(code));
    EXPECT_EQ(f32_to_e4m3(value), code);
    EXPECT_EQ(f32_to_e4m3(-value), code | 0x80);
    if (code == 0x7E) break;
    const float next = e4m3_to_f32(static_cast<std::uint8_t>(code + 1));
    const float middle = (value + next) / 2;  // exact: one more bit
    for (const float probe : {middle, std::nextafter(middle, 0.0F), std::nextafter(middle, 1e9F)}) {
      EXPECT_EQ(f32_to_e4m3(probe), nearest_code(probe, 0x7F, e4m3_to_f32)) << probe;
      EXPECT_EQ(f32_to_e4m3(-probe), nearest_code(probe, 0x7F, e4m3_to_f32) | 0x80) << probe;
    }
  }
  EXPECT_EQ(f32_to_e4m3(1e30F), 0x7E);
  EXPECT_EQ(f32_to_e4m3(std::numeric_limits<float>::infinity()), 0x7E);
  EXPECT_EQ(f32_to_e4m3(std::numeric_limits<float>::quiet_NaN()) & 0x7F, 0x7F);
  EXPECT_TRUE(std::isnan(e4m3_to_f32(0x7F)) && std::isnan(e4m3_to_f32(0xFF)));
  EXPECT_EQ(e4m3_to_f32(0x7E), 448.0F);
  EXPECT_EQ(e4m3_to_f32(1), 0x1p-9F);
}

TEST(Scalar, E2m1RoundsToNearestEven) {
  for (int step = 0; step <= 7000; ++step) {
    const float value = static_cast<float>(step) / 1000.0F;
    EXPECT_EQ(f32_to_e2m1(value), nearest_code(value, 8, e2m1_to_f32)) << value;
    EXPECT_EQ(f32_to_e2m1(-value), nearest_code(value, 8, e2m1_to_f32) | 8) << value;
  }
  const float ties[] = {0.25F, 0.75F, 1.25F, 1.75F, 2.5F, 3.5F, 5.0F};
  const float even[] = {0, 1, 1, 2, 2, 4, 4};
  for (int i = 0; i < 7; ++i) EXPECT_EQ(e2m1_to_f32(f32_to_e2m1(ties[i])), even[i]);
}

TEST(Scalar, Bf16RoundTripsAllCodesAndRoundsTiesToEven) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const bf16 value{static_cast<std::uint16_t>(bits)};
    const float wide = to_f32(value);
    if (std::isnan(wide)) {
      EXPECT_TRUE(std::isnan(to_f32(to_bf16(wide))));
    } else {
      EXPECT_EQ(to_bf16(wide), value);
    }
  }
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3F808000U)).bits, 0x3F80);
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3F818000U)).bits, 0x3F82);
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3F808001U)).bits, 0x3F81);
  EXPECT_EQ(to_bf16(3.4e38F).bits, 0x7F80);
}

TEST(Scalar, E8m0IsAPowerOfTwo) {
  for (int byte = 0; byte < 255; ++byte) {
    EXPECT_EQ(e8m0_to_f32(static_cast<std::uint8_t>(byte)), std::ldexp(1.0F, byte - 127));
  }
  EXPECT_TRUE(std::isnan(e8m0_to_f32(255)));
}

}  // namespace
}  // namespace hadal
