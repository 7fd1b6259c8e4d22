#pragma once

#include <cstdint>

namespace hadal::cpu {

/// bf16 values of the 128 magnitudes of E4M3, times one E8M0 scale, cut into low and high bytes (sign left out).
struct alignas(64) E4m3Bf16Table {
  std::uint8_t low[128];
  std::uint8_t high[128];
};

/// bf16 values of the 16 codes of E2M1, times one E8M0 scale; stored twice, so that the fifth bit of an index is free.
struct alignas(64) E2m1Bf16Table {
  std::uint16_t values[32];
};

/// Values of the small number formats, all exact.
struct DecodeTables {
  /// One table for each scale byte. What leaves bf16's normal range is 0 or infinity; scale 255 makes everything NaN.
  E4m3Bf16Table e4m3_bf16[256];
  E2m1Bf16Table e2m1_bf16[256];
  float e4m3[256];
  float e2m1[16];
  float e8m0[256];
};

extern const DecodeTables kDecode;

/// Byte of the E8M0 scale 1.
inline constexpr std::uint8_t kE8m0One = 127;

}  // namespace hadal::cpu
