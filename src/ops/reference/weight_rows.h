#pragma once

#include <cstdint>

#include "ops/reference/elements.h"
#include "ops/weight.h"

namespace hadal::ops::reference {

/// Row `row` of a weight with its dequantised values, code * scale in T: exact for power-of-two scales, rounded once
/// to T for others. out has weight.columns() elements.
template <class T>
void decode_row(const Weight& weight, std::int64_t row, T* out) {
  const TensorView& codes = weight.codes;
  const std::int64_t columns = weight.columns();
  const std::byte* bytes = codes.bytes() + row * codes.stride(0) * size_of(codes.type());
  if (codes.type() == DType::kE4m3) {
    const std::int64_t scales = offset_of(weight.scales, row / kFp8Tile);
    for (std::int64_t begin = 0; begin < columns; begin += kFp8Tile) {
      const T scale = load<T>(weight.scales, scales + begin / kFp8Tile);
      for (std::int64_t k = begin; k < columns && k < begin + kFp8Tile; ++k) {
        out[k] = widen<T>(e4m3_to_f32(std::to_integer<std::uint8_t>(bytes[k]))) * scale;
      }
    }
  } else if (codes.type() == DType::kE2m1x2) {
    const std::int64_t scales = offset_of(weight.scales, row);
    for (std::int64_t begin = 0; begin < columns; begin += kFp4Block) {
      const T scale = load<T>(weight.scales, scales + begin / kFp4Block);
      for (std::int64_t k = begin; k < columns && k < begin + kFp4Block; ++k) {
        const auto pair = std::to_integer<std::uint8_t>(bytes[k / 2]);
        const auto code = static_cast<std::uint8_t>(k % 2 == 0 ? pair & 15U : pair >> 4);
        out[k] = widen<T>(e2m1_to_f32(code)) * scale;
      }
    }
  } else {
    load_row(codes, offset_of(codes, row), columns, out);
  }
}

}  // namespace hadal::ops::reference
