#include "backends/cpu/plain_weight.h"

#include <algorithm>

#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

bool is_plain(const ops::Weight& weight) { return is_f32_or_bf16(weight.codes); }

DType plain_type(const ops::Weight& weight) { return ops::is_exact_in_bf16(weight) ? DType::kBf16 : DType::kF32; }

/// Writes columns [begin, end), which share a scale, of a row of codes.
void decode(const ops::Weight& weight, const std::byte* codes, std::int64_t begin, std::int64_t end, float scale,
            const TensorView& out, std::int64_t offset) {
  const bool pairs = weight.codes.type() == DType::kE2m1x2;
  for (std::int64_t column = begin; column < end; ++column) {
    const auto byte = std::to_integer<std::uint8_t>(codes[pairs ? column / 2 : column]);
    const auto code = static_cast<std::uint8_t>(column % 2 == 0 ? byte & 15U : byte >> 4);
    store(out, offset + column, (pairs ? e2m1_to_f32(code) : e4m3_to_f32(byte)) * scale);
  }
}

}  // namespace

std::int64_t plain_weight_bytes(const ops::Weight& weight) {
  return is_plain(weight) ? 0 : padded(weight.rows() * weight.columns() * size_of(plain_type(weight)));
}

GemmOperand plain_operand(CpuBackend& backend, const ops::Weight& weight, std::byte* memory) {
  if (is_plain(weight)) return operand_of(weight.codes);
  const std::int64_t columns = weight.columns();
  const TensorView out(memory, plain_type(weight), {weight.rows(), columns});
  const bool pairs = weight.codes.type() == DType::kE2m1x2;
  const std::int64_t block = pairs ? kFp4Block : kFp8Tile;
  for_rows(backend.pool(), weight.rows(), columns, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t row = first; row < last; ++row) {
      const std::byte* codes = weight.codes.bytes() + row * weight.codes.stride(0);
      const std::int64_t scales = (pairs ? row : row / kFp8Tile) * weight.scales.stride(0);
      for (std::int64_t begin = 0; begin < columns; begin += block) {
        decode(weight, codes, begin, std::min(columns, begin + block),
               load<float>(weight.scales, scales + begin / block), out, row * columns);
      }
    }
  });
  return operand_of(out);
}

}  // namespace hadal::cpu
