#include "ops/matrix_product.h"

#include "backends/cpu/gemm.h"
#include "backends/cpu/register.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

using Args = ops::MatrixProduct::Args;

/// Matrix `index` of a batch of matrices with `columns` columns.
GemmOperand matrix_of_batch(const TensorView& view, std::int64_t index, bool transposed) {
  const std::int64_t elements = view.rank() == 3 ? view.extent(1) * view.extent(2) : 0;
  return {.type = view.type(),
          .data = view.bytes() + index * elements * size_of(view.type()),
          .stride = view.extent(view.rank() - 1),
          .transposed = transposed};
}

void enqueue(ops::Stream& stream, const Args& args) {
  const auto [batch, m, n, k] = ops::MatrixProductExtents(args);
  for (std::int64_t matrix = 0; matrix < batch; ++matrix) {
    gemm(backend_of(stream),
         {.m = m,
          .n = n,
          .k = k,
          .a = matrix_of_batch(args.a, matrix, args.transpose_a),
          .b = matrix_of_batch(args.b, matrix, args.transpose_b),
          .c = args.out.as<float>() + matrix * m * n,
          .c_stride = n,
          .narrow = args.bf16 || is_bf16(args.a),
          .alpha = static_cast<float>(args.alpha),
          .beta = static_cast<float>(args.beta)},
         stream.scratch());
  }
}

}  // namespace

void add_matrix_product(ops::OpTable& table) {
  table.add<ops::MatrixProduct>({.implementation = "cpu",
                                 .supports = [](const Args& args) { return is_f32_or_bf16(args.a); },
                                 .scratch_bytes =
                                     [](const ops::Backend& backend, const Args& args) {
                                       const auto [batch, m, n, k] = ops::MatrixProductExtents(args);
                                       return gemm_scratch_bytes(backend, m, n, k);
                                     },
                                 .enqueue = enqueue});
}

}  // namespace hadal::cpu
