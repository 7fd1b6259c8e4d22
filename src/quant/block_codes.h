#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "formats/tensor_table.h"

namespace hadal::quant {

/// How a weight matrix is cut into blocks that share a power-of-two scale (UE8M0), and what its codes are.
enum class CodeFormat : std::uint8_t {
  kFp8Tile128,  // E4M3 codes, a scale per 128 x 128 tile (smaller at the lower and right edge)
  kFp4Block32,  // E2M1 codes, a scale per 32 columns of a row; columns a multiple of 32
};

/// The codes that the official layout has for a tensor of that role; nothing for those it leaves in BF16, F32 or I64.
[[nodiscard]] constexpr std::optional<CodeFormat> code_format(formats::TensorRole role) {
  if (role == formats::TensorRole::kLinear) return CodeFormat::kFp8Tile128;
  if (role == formats::TensorRole::kExpert) return CodeFormat::kFp4Block32;
  return std::nullopt;
}

/// Extents of a row-major matrix.
struct MatrixShape {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  [[nodiscard]] std::int64_t elements() const { return rows * columns; }
};

/// Bytes of the codes (one an element, or two elements a byte) and of the scales, in the official packing.
[[nodiscard]] std::int64_t code_bytes(MatrixShape shape, CodeFormat format);
[[nodiscard]] MatrixShape scale_shape(MatrixShape shape, CodeFormat format);

/// UE8M0 code of a block's scale: 2^ceil(log2(amax / 448)), or / 6 for FP4, not below 2^-117 (FP8) and 2^-126 (FP4), so
/// that every code's value is exact in bf16. `amax`: finite, not negative.
[[nodiscard]] std::uint8_t scale_code(float amax, CodeFormat format);

/// Codes and scales of finite values [rows, columns]: value / scale to the nearest code, ties to even; nothing
/// saturates. Packing: ops/weight.h. Source: spec/training.md 2.8.
void quantize(std::span<const float> values, MatrixShape shape, CodeFormat format, std::span<std::byte> codes,
              std::span<std::byte> scales);

/// code * scale.
void dequantize(std::span<const std::byte> codes, std::span<const std::byte> scales, MatrixShape shape,
                CodeFormat format, std::span<float> values);

/// What dequantize gives after quantize, without the codes; `out` may be `values`.
void round_to_codes(std::span<const float> values, MatrixShape shape, CodeFormat format, std::span<float> out);

}  // namespace hadal::quant
