#pragma once

#include <cstdint>
#include <cstring>

#include "backends/cpu/cpu_backend.h"
#include "tensor/tensor.h"

namespace hadal::cpu {

/// Operators that round once at the end work through a row in pieces of this many f32 values, which stay in L1.
inline constexpr std::int64_t kPiece = 512;

/// Address of element `column` of row `row` of the outermost dimension.
[[nodiscard]] inline std::byte* element(const TensorView& view, std::int64_t row, std::int64_t column) {
  return view.bytes() + (row * view.stride(0) + column) * size_of(view.type());
}

/// `count` values at `address` as f32: copied or widened into `piece`, which it returns.
[[nodiscard]] inline const float* read_f32(const OperatorKernels& kernels, DType type, const std::byte* address,
                                           std::int64_t count, float* piece) {
  if (type == DType::kBf16) {
    kernels.widen_bf16(address, piece, count);
    return piece;
  }
  std::memcpy(piece, address, static_cast<std::size_t>(count) * sizeof(float));
  return piece;
}

/// Writes `count` f32 values as `type`, rounded to nearest even.
inline void write_f32(const OperatorKernels& kernels, DType type, const float* values, std::int64_t count,
                      std::byte* address) {
  if (type == DType::kBf16) {
    kernels.narrow_bf16(values, address, count);
  } else {
    std::memcpy(address, values, static_cast<std::size_t>(count) * sizeof(float));
  }
}

}  // namespace hadal::cpu
