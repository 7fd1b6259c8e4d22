#include "ops/linear.h"

#include <algorithm>

#include "backends/cpu/product.h"
#include "backends/cpu/register.h"
#include "backends/cpu/rows.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

void enqueue(ops::Stream& stream, const ops::Linear::Args& args) {
  CpuBackend& backend = backend_of(stream);
  const MatrixRef matrix = matrix_of(args.weight);
  const TensorView& x = args.input;
  const TensorView& y = args.out;
  const std::int64_t rows = x.extent(0);
  const std::int64_t scratch_bytes = product_scratch(backend, matrix.k);
  std::byte* scratch = stream.scratch();
  const int workers = backend.workers();
  const bool few_outputs = matrix.n < 128 * workers && rows >= 16 * workers;
  if (few_outputs) {
    for_rows(backend.pool(), rows, matrix.k, [&](std::int64_t begin, std::int64_t end, int worker) {
      multiply(backend, x.type(), element(x, begin, 0), x.stride(0), end - begin, matrix, 0, matrix.n,
               y.row<float>(begin), y.stride(0), scratch + worker * scratch_bytes);
    });
    return;
  }
  backend.pool().parallel_for(matrix.n, output_grain(matrix.k * rows),
                              [&](std::int64_t begin, std::int64_t end, int worker) {
                                multiply(backend, x.type(), x.bytes(), x.stride(0), rows, matrix, begin, end,
                                         y.as<float>(), y.stride(0), scratch + worker * scratch_bytes);
                              });
}

}  // namespace

void add_linear(ops::OpTable& table) {
  table.add<ops::Linear>({.implementation = "cpu",
                          .supports =
                              [](const ops::Linear::Args& args) {
                                return is_f32_or_bf16(args.input) && is_f32(args.out) && is_matrix(args.weight);
                              },
                          .scratch_bytes =
                              [](const ops::Backend& backend, const ops::Linear::Args& args) {
                                return product_scratch_of_all(backend, args.weight.columns());
                              },
                          .enqueue = enqueue});
}

}  // namespace hadal::cpu
