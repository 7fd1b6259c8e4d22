#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/cpu_backend.h"
#include "tensor/tensor.h"

namespace hadal::cpu {

/// One operand of a dense product: a matrix of f32 or bf16 with contiguous rows, of any alignment.
struct GemmOperand {
  DType type;
  const std::byte* data;
  std::int64_t stride;      // elements between rows
  bool transposed = false;  // the matrix lies as its transpose
};

/// c = alpha * a . b + beta * c.
struct Gemm {
  std::int64_t m, n, k;  // k >= 1
  GemmOperand a;         // [m, k]; transposed: [k, m]
  GemmOperand b;         // [k, n]; transposed: [n, k]
  float* c;              // [m, n]
  std::int64_t c_stride;
  bool narrow;  // operands are rounded to bf16 where they are not; else they are widened to f32
  float alpha = 1;
  float beta = 0;  // 0: c is not read
};

/// Operand for rows [begin, ...) of a view, whose columns are contiguous.
[[nodiscard]] GemmOperand operand_of(const TensorView& view, bool transposed = false);

/// Working memory of gemm() for m, n, k up to these, whatever the operands.
[[nodiscard]] std::int64_t gemm_scratch_bytes(const ops::Backend& backend, std::int64_t m, std::int64_t n,
                                              std::int64_t k);

/// Computes the product on the backend's pool. Sums are f32: k ascending within blocks of 128 units (256 elements of
/// bf16 on AVX-512, 128 of f32), the blocks added to c in order. Threads split c. So an element's bits depend on its
/// row of a, its column of b and k alone.
void gemm(CpuBackend& backend, const Gemm& product, std::byte* scratch);

}  // namespace hadal::cpu
