#pragma once

#include <algorithm>
#include <bit>
#include <cmath>

#include "ops/reference/elements.h"
#include "ops/reference/scratch.h"
#include "ops/round_rows.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const RoundRows::Args& args) {
  return any_f64({args.input.type(), args.out.type()});
}

/// UE8M0 code of 2^ceil(log2(value)) of a positive normal float32, from its bits; 255 (NaN) for infinity.
[[nodiscard]] inline std::uint8_t power_of_two_above(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t exponent = (bits >> 23) & 255U;
  return static_cast<std::uint8_t>(std::min(exponent + ((bits & 0x7FFFFFU) != 0 ? 1U : 0U), 255U));
}

/// What a block is rounded to: its smallest amax, the factor that makes a scale of it, the largest value of a code.
struct BlockFormat {
  float floor;
  float reciprocal;
  float largest;
};

[[nodiscard]] constexpr BlockFormat format_of(Rounding rounding) {
  if (rounding == Rounding::kFp4Block32) return {.floor = 6 * 0x1p-126F, .reciprocal = 1 / 6.0F, .largest = 6};
  return {.floor = 1e-4F, .reciprocal = 1 / 448.0F, .largest = 448};
}

/// UE8M0 code of the scale of a block.
template <class T>
[[nodiscard]] std::uint8_t block_scale(const T* block, std::int64_t count, Rounding rounding) {
  const BlockFormat format = format_of(rounding);
  auto amax = static_cast<T>(format.floor);
  for (std::int64_t i = 0; i < count; ++i) amax = std::max(amax, std::abs(block[i]));
  return power_of_two_above(static_cast<float>(amax) * format.reciprocal);
}

/// The E4M3 or E2M1 code of value / scale, to nearest even.
template <class T>
[[nodiscard]] std::uint8_t block_code(T value, T scale, Rounding rounding) {
  const auto largest = static_cast<T>(format_of(rounding).largest);
  const float scaled = round_to_odd(std::clamp(value / scale, -largest, largest));
  return rounding == Rounding::kFp4Block32 ? f32_to_e2m1(scaled) : f32_to_e4m3(scaled);
}

template <class T>
[[nodiscard]] T code_value(std::uint8_t code, Rounding rounding) {
  return static_cast<T>(rounding == Rounding::kFp4Block32 ? e2m1_to_f32(code) : e4m3_to_f32(code));
}

/// Rounds `channels` values of a row in place, in blocks.
template <class T>
void round_blocks(T* row, std::int64_t channels, Rounding rounding) {
  if (rounding == Rounding::kNone) return;
  const std::int64_t length = block_length(rounding);
  for (T* block = row; block < row + channels; block += length) {
    const T scale = static_cast<T>(e8m0_to_f32(block_scale(block, length, rounding)));
    for (std::int64_t i = 0; i < length; ++i) {
      block[i] = code_value<T>(block_code(block[i], scale, rounding), rounding) * scale;
    }
  }
}

[[nodiscard]] inline std::int64_t scratch_bytes(const RoundRows::Args& args) {
  return padded_bytes<double>(args.input.extent(1));
}

template <class T>
void round_rows(const RoundRows::Args& args, Scratch scratch) {
  const std::int64_t channels = args.input.extent(1);
  T* values = scratch.take<T>(channels);
  for (std::int64_t row = 0; row < args.input.extent(0); ++row) {
    load_row(args.input, offset_of(args.input, row), channels, values);
    round_blocks(values, args.channels, args.rounding);
    store_row(values, channels, args.out, offset_of(args.out, row));
  }
}

}  // namespace hadal::ops::reference
