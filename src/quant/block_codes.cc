#include "quant/block_codes.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "base/check.h"
#include "tensor/scalar.h"
#include "tensor/scale_blocks.h"

namespace hadal::quant {
namespace {

constexpr int kE8m0Bias = 127;

/// One block: where it begins, and its extents.
struct Block {
  std::int64_t row = 0;
  std::int64_t column = 0;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
};

MatrixShape block_extents(CodeFormat format) {
  return format == CodeFormat::kFp8Tile128 ? MatrixShape{kFp8Tile, kFp8Tile} : MatrixShape{1, kFp4Block};
}

/// Calls visit(block, index) for every block, rows of blocks first.
void for_each_block(MatrixShape shape, CodeFormat format, auto&& visit) {
  const MatrixShape extents = block_extents(format);
  std::size_t index = 0;
  for (std::int64_t row = 0; row < shape.rows; row += extents.rows) {
    for (std::int64_t column = 0; column < shape.columns; column += extents.columns) {
      visit(Block{row, column, std::min(extents.rows, shape.rows - row),
                  std::min(extents.columns, shape.columns - column)},
            index++);
    }
  }
}

float largest_magnitude(std::span<const float> values, MatrixShape shape, const Block& block) {
  float largest = 0;
  for (std::int64_t row = block.row; row < block.row + block.rows; ++row) {
    const float* const at = values.data() + row * shape.columns + block.column;
    for (std::int64_t column = 0; column < block.columns; ++column) largest = std::max(largest, std::abs(at[column]));
  }
  return largest;
}

/// Zero has the code 0, so that codes and values name each other.
std::uint8_t code_of(float scaled, CodeFormat format) {
  const bool fp8 = format == CodeFormat::kFp8Tile128;
  const std::uint8_t code = fp8 ? f32_to_e4m3(scaled) : f32_to_e2m1(scaled);
  return code == (fp8 ? 0x80 : 0x08) ? std::uint8_t{0} : code;
}

/// To the grid of the code, whose spacing is that of the binade: ties to even, no negative zero.
float rounded(float scaled, int fraction_bits, int smallest_exponent) {
  const int exponent =
      std::max(static_cast<int>(std::bit_cast<std::uint32_t>(scaled) >> 23 & 255U) - kE8m0Bias, smallest_exponent);
  // Adding 1.5 * 2^23 spacings leaves no bits below the spacing.
  const float shift =
      std::bit_cast<float>(static_cast<std::uint32_t>(exponent - fraction_bits + 23 + kE8m0Bias) << 23 | 0x400000U);
  return (scaled + shift) - shift;
}

}  // namespace

std::int64_t code_bytes(MatrixShape shape, CodeFormat format) {
  return format == CodeFormat::kFp8Tile128 ? shape.elements() : shape.elements() / 2;
}

MatrixShape scale_shape(MatrixShape shape, CodeFormat format) {
  const MatrixShape extents = block_extents(format);
  return {(shape.rows + extents.rows - 1) / extents.rows, (shape.columns + extents.columns - 1) / extents.columns};
}

std::uint8_t scale_code(float amax, CodeFormat format) {
  const bool fp8 = format == CodeFormat::kFp8Tile128;
  // 448 = 1.75 * 2^8 and 6 = 1.5 * 2^2: compare significands instead of dividing, which would round.
  const float significand = fp8 ? 1.75F : 1.5F;
  const int exponent = fp8 ? 8 : 2;
  const int smallest = fp8 ? -117 : -126;
  int binade = 0;
  const float fraction = 2 * std::frexp(amax, &binade);  // in [1, 2), or 0
  if (fraction == 0) return static_cast<std::uint8_t>(smallest + kE8m0Bias);
  const int power = binade - 1 - exponent + (fraction > significand ? 1 : 0);
  return static_cast<std::uint8_t>(std::max(power, smallest) + kE8m0Bias);
}

void quantize(std::span<const float> values, MatrixShape shape, CodeFormat format, std::span<std::byte> codes,
              std::span<std::byte> scales) {
  HADAL_CHECK(static_cast<std::int64_t>(values.size()) == shape.elements() &&
                  static_cast<std::int64_t>(codes.size()) == code_bytes(shape, format) &&
                  static_cast<std::int64_t>(scales.size()) == scale_shape(shape, format).elements(),
              "codes and scales fit their matrix");
  for_each_block(shape, format, [&](const Block& block, std::size_t index) {
    const std::uint8_t scale = scale_code(largest_magnitude(values, shape, block), format);
    scales[index] = std::byte{scale};
    const float inverse = std::ldexp(1.0F, kE8m0Bias - scale);
    for (std::int64_t row = block.row; row < block.row + block.rows; ++row) {
      const std::int64_t begin = row * shape.columns + block.column;
      if (format == CodeFormat::kFp8Tile128) {
        for (std::int64_t i = begin; i < begin + block.columns; ++i) {
          codes[static_cast<std::size_t>(i)] =
              std::byte{code_of(values[static_cast<std::size_t>(i)] * inverse, format)};
        }
        continue;
      }
      for (std::int64_t i = begin; i < begin + block.columns; i += 2) {
        const std::uint8_t low = code_of(values[static_cast<std::size_t>(i)] * inverse, format);
        const std::uint8_t high = code_of(values[static_cast<std::size_t>(i + 1)] * inverse, format);
        codes[static_cast<std::size_t>(i / 2)] = static_cast<std::byte>(low | high << 4);
      }
    }
  });
}

void dequantize(std::span<const std::byte> codes, std::span<const std::byte> scales, MatrixShape shape,
                CodeFormat format, std::span<float> values) {
  for_each_block(shape, format, [&](const Block& block, std::size_t index) {
    const float scale = e8m0_to_f32(std::to_integer<std::uint8_t>(scales[index]));
    for (std::int64_t row = block.row; row < block.row + block.rows; ++row) {
      const std::int64_t begin = row * shape.columns + block.column;
      for (std::int64_t i = begin; i < begin + block.columns; ++i) {
        const bool fp8 = format == CodeFormat::kFp8Tile128;
        const auto byte = std::to_integer<std::uint8_t>(codes[static_cast<std::size_t>(fp8 ? i : i / 2)]);
        const float value =
            fp8 ? e4m3_to_f32(byte) : e2m1_to_f32(static_cast<std::uint8_t>(i % 2 == 0 ? byte & 15U : byte >> 4));
        values[static_cast<std::size_t>(i)] = value * scale;
      }
    }
  });
}

void round_to_codes(std::span<const float> values, MatrixShape shape, CodeFormat format, std::span<float> out) {
  const bool fp8 = format == CodeFormat::kFp8Tile128;
  const int fraction_bits = fp8 ? 3 : 1;
  const int smallest_exponent = fp8 ? -6 : 0;  // of normal codes
  for_each_block(shape, format, [&](const Block& block, std::size_t) {
    const int scale = scale_code(largest_magnitude(values, shape, block), format) - kE8m0Bias;
    const float factor = std::ldexp(1.0F, scale);
    const float inverse = std::ldexp(1.0F, -scale);
    for (std::int64_t row = block.row; row < block.row + block.rows; ++row) {
      const float* const from = values.data() + row * shape.columns + block.column;
      float* const to = out.data() + row * shape.columns + block.column;
      for (std::int64_t i = 0; i < block.columns; ++i) {
        to[i] = rounded(from[i] * inverse, fraction_bits, smallest_exponent) * factor;
      }
    }
  });
}

}  // namespace hadal::quant
