#include "backends/cpu/kernels/decode_tables.h"

#include <bit>

#include "tensor/scalar.h"

namespace hadal::cpu {
namespace {

constexpr std::uint16_t kNaN = 0x7FC0;

/// 2^(byte - 127) in double, where neither end overflows.
constexpr double scale_value(int byte) {
  double value = 1.0;
  for (int i = 127; i < byte; ++i) value *= 2.0;
  for (int i = byte; i < 127; ++i) value *= 0.5;
  return value;
}

/// Bits of `value` (at most 8 significant bits) as bf16; below the normal range 0, above it infinity.
constexpr std::uint16_t bf16_bits(double value) {
  const double magnitude = value < 0.0 ? -value : value;
  const std::uint16_t sign = value < 0.0 ? 0x8000 : 0;
  if (magnitude < 0x1p-126) return 0;
  if (magnitude >= 0x1p128) return sign | 0x7F80;
  return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(static_cast<float>(value)) >> 16);
}

constexpr DecodeTables make_tables() {
  DecodeTables tables{};
  for (int code = 0; code < 256; ++code) tables.e4m3[code] = e4m3_to_f32(static_cast<std::uint8_t>(code));
  for (int code = 0; code < 16; ++code) tables.e2m1[code] = e2m1_to_f32(static_cast<std::uint8_t>(code));
  for (int byte = 0; byte < 256; ++byte) {
    tables.e8m0[byte] = e8m0_to_f32(static_cast<std::uint8_t>(byte));
    const double scale = scale_value(byte);
    for (int code = 0; code < 128; ++code) {
      const bool nan = byte == 255 || code == 127;
      const std::uint16_t bits = nan ? kNaN : bf16_bits(static_cast<double>(tables.e4m3[code]) * scale);
      tables.e4m3_bf16[byte].low[code] = static_cast<std::uint8_t>(bits & 0xFF);
      tables.e4m3_bf16[byte].high[code] = static_cast<std::uint8_t>(bits >> 8);
    }
    for (int code = 0; code < 32; ++code) {
      tables.e2m1_bf16[byte].values[code] =
          byte == 255 ? kNaN : bf16_bits(static_cast<double>(tables.e2m1[code & 15]) * scale);
    }
  }
  return tables;
}

}  // namespace

constinit const DecodeTables kDecode = make_tables();

}  // namespace hadal::cpu
