#pragma once

#include <cstdint>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/kernels/matrix_ref.h"
#include "ops/weight.h"
#include "tensor/tensor.h"

namespace hadal::cpu {

/// The kernels' view of a weight.
[[nodiscard]] MatrixRef matrix_of(const ops::Weight& weight);

/// Whether the product kernels know the weight's layout.
[[nodiscard]] bool is_matrix(const ops::Weight& weight);

/// y[row * y_stride + n] for all rows of x and n in [n_begin, n_end) of the weight; x is f32 or bf16.
void multiply(const CpuBackend& backend, DType x_type, const std::byte* x, std::int64_t x_stride, std::int64_t rows,
              const MatrixRef& w, std::int64_t n_begin, std::int64_t n_end, float* y, std::int64_t y_stride,
              std::byte* scratch);

/// Outputs that are worth a thread, in whole register tiles, where each takes `work` multiplications.
[[nodiscard]] std::int64_t output_grain(std::int64_t work);

/// Scratch bytes of one worker for products over rows of length k.
[[nodiscard]] std::int64_t product_scratch(const CpuBackend& backend, std::int64_t k);

/// Scratch bytes of all workers.
[[nodiscard]] std::int64_t product_scratch_of_all(const ops::Backend& backend, std::int64_t k);

}  // namespace hadal::cpu
