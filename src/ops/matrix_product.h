#pragma once

#include <cstdint>
#include <string_view>

#include "ops/backend.h"
#include "tensor/tensor.h"

namespace hadal::ops {

struct MatrixProduct {
  static constexpr std::string_view name = "matrix_product";
  struct Args {
    TensorView a;    // [M, K] or [B, M, K]; transpose_a: [K, M] or [B, K, M]; f32 | f64 | bf16
    TensorView b;    // [K, N] or [B, K, N]; transpose_b: [N, K] or [B, N, K]; like a
    TensorView out;  // [M, N] or [B, M, N] f32 | f64
    bool transpose_a = false;
    bool transpose_b = false;
    double alpha = 1;
    double beta = 0;    // 0: out is overwritten, whatever it holds
    bool bf16 = false;  // inputs are rounded to bf16 first
  };
};

/// out = alpha * op(a) . op(b) + beta * out, op(x) being x or its transpose, for each of B matrices. Sums of products
/// are f32 (f64 for f64), in an order that depends on the shapes, types and flags alone. a and b may be the same view.
/// Errors: kInvalidArgument when shapes or types differ. For the optimizer (Newton-Schulz of spec/training.md 2.1).
[[nodiscard]] Status matrix_product(Stream& stream, const MatrixProduct::Args& args);

/// Extents of one product of the call.
struct MatrixProductExtents {
  std::int64_t batch, m, n, k;

  explicit MatrixProductExtents(const MatrixProduct::Args& args);
};

}  // namespace hadal::ops
