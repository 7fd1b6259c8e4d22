#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace hadal {

/// A bfloat16 number: the upper half of a float32.
struct bf16 {
  std::uint16_t bits = 0;
  friend constexpr bool operator==(bf16, bf16) = default;
};

[[nodiscard]] constexpr float to_f32(bf16 value) { return std::bit_cast<float>(std::uint32_t{value.bits} << 16); }

/// Rounds to nearest, ties to even. NaN stays NaN (quiet, sign and upper payload kept); overflow gives infinity.
[[nodiscard]] constexpr bf16 to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return {static_cast<std::uint16_t>((bits >> 16) | 0x40U)};
  return {static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16)};
}

/// The float32 that any coarser format rounds like `value` itself: towards zero, with the last bit set when inexact.
[[nodiscard]] constexpr float round_to_odd(double value) {
  const auto nearest = static_cast<float>(value);
  const auto wide = static_cast<double>(nearest);
  if (value != value || wide == value) return nearest;
  auto bits = std::bit_cast<std::uint32_t>(nearest);
  if ((value > 0 ? wide : -wide) > (value > 0 ? value : -value)) --bits;
  return std::bit_cast<float>(bits | 1U);
}
[[nodiscard]] constexpr float round_to_odd(float value) { return value; }

/// Value of an E4M3 "fn" code: bias 7, no infinity, 0x7F and 0xFF are NaN, largest 448.
[[nodiscard]] constexpr float e4m3_to_f32(std::uint8_t code) {
  const std::uint32_t sign = std::uint32_t{code} >> 7;
  const std::uint32_t exponent = (code >> 3) & 15U;
  const std::uint32_t mantissa = code & 7U;
  if (exponent == 15 && mantissa == 7) return std::numeric_limits<float>::quiet_NaN();
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-9F;
    return sign != 0 ? -magnitude : magnitude;
  }
  return std::bit_cast<float>((sign << 31) | ((exponent + 120U) << 23) | (mantissa << 20));
}

/// Rounds to the nearest E4M3 code, ties to even, saturating at +-448. NaN gives NaN.
[[nodiscard]] constexpr std::uint8_t f32_to_e4m3(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint8_t>((bits >> 24) & 0x80U);
  const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  if (magnitude > 0x7F800000U) return static_cast<std::uint8_t>(sign | 0x7FU);
  if (magnitude >= 0x43E00000U) return static_cast<std::uint8_t>(sign | 0x7EU);  // >= 448
  if (magnitude < 0x3C800000U) {                                                 // below 2^-6: subnormal codes of 2^-9
    const float scaled = std::bit_cast<float>(magnitude) * 512.0F;               // exact
    auto code = static_cast<std::uint32_t>(scaled);
    const float rest = scaled - static_cast<float>(code);
    if (rest > 0.5F || (rest == 0.5F && (code & 1U) != 0)) ++code;
    return static_cast<std::uint8_t>(sign | code);
  }
  const std::uint32_t rounded = magnitude + 0x7FFFFU + ((magnitude >> 20) & 1U);
  const std::uint32_t code = (rounded >> 20) - (120U << 3);
  return static_cast<std::uint8_t>(sign | (code > 0x7EU ? 0x7EU : code));
}

/// Value of an E2M1 code 0..15: 0 0.5 1 1.5 2 3 4 6 and their negatives; code 8 counts as plain 0.
[[nodiscard]] constexpr float e2m1_to_f32(std::uint8_t code) {
  constexpr float kValues[8] = {0.0F, 0.5F, 1.0F, 1.5F, 2.0F, 3.0F, 4.0F, 6.0F};
  const float magnitude = kValues[code & 7U];
  return (code & 8U) != 0 && magnitude != 0.0F ? -magnitude : magnitude;
}

/// Rounds to the nearest E2M1 code, ties to the even code, saturating at +-6. NaN gives the largest code.
[[nodiscard]] constexpr std::uint8_t f32_to_e2m1(float value) {
  const auto sign = static_cast<std::uint8_t>((std::bit_cast<std::uint32_t>(value) >> 28) & 8U);
  const float m = value < 0.0F ? -value : value;
  std::uint8_t code = 7;
  if (m <= 0.25F) {
    code = 0;
  } else if (m < 0.75F) {
    code = 1;
  } else if (m <= 1.25F) {
    code = 2;
  } else if (m < 1.75F) {
    code = 3;
  } else if (m <= 2.5F) {
    code = 4;
  } else if (m < 3.5F) {
    code = 5;
  } else if (m <= 5.0F) {
    code = 6;
  }
  return static_cast<std::uint8_t>(sign | code);
}

/// Value 2^(byte - 127); byte 255 is NaN, byte 0 is the subnormal 2^-127.
[[nodiscard]] constexpr float e8m0_to_f32(std::uint8_t byte) {
  if (byte == 255) return std::numeric_limits<float>::quiet_NaN();
  if (byte == 0) return 0x1p-127F;
  return std::bit_cast<float>(std::uint32_t{byte} << 23);
}

}  // namespace hadal
