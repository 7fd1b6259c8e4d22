#include "ops/grouped_linear.h"

#include <algorithm>

#include "backends/cpu/product.h"
#include "backends/cpu/register.h"
#include "backends/cpu/rows.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

void enqueue(ops::Stream& stream, const ops::GroupedLinear::Args& args) {
  CpuBackend& backend = backend_of(stream);
  const MatrixRef matrix = matrix_of(args.weight);
  const TensorView& x = args.input;
  const std::int64_t outputs = matrix.n / args.groups;
  const std::int64_t scratch_bytes = product_scratch(backend, matrix.k);
  // One range over the outputs of all groups: a part may begin and end inside a group.
  backend.pool().parallel_for(
      matrix.n, output_grain(matrix.k * x.extent(0)), [&](std::int64_t begin, std::int64_t end, int worker) {
        while (begin < end) {
          const std::int64_t group = begin / outputs;
          const std::int64_t stop = std::min(end, (group + 1) * outputs);
          multiply(backend, x.type(), element(x, 0, group * matrix.k), x.stride(0), x.extent(0), matrix, begin, stop,
                   args.out.as<float>(), args.out.stride(0), stream.scratch() + worker * scratch_bytes);
          begin = stop;
        }
      });
}

}  // namespace

void add_grouped_linear(ops::OpTable& table) {
  table.add<ops::GroupedLinear>({.implementation = "cpu",
                                 .supports =
                                     [](const ops::GroupedLinear::Args& args) {
                                       return is_f32_or_bf16(args.input) && is_f32(args.out) && is_matrix(args.weight);
                                     },
                                 .scratch_bytes =
                                     [](const ops::Backend& backend, const ops::GroupedLinear::Args& args) {
                                       return product_scratch_of_all(backend, args.weight.columns());
                                     },
                                 .enqueue = enqueue});
}

}  // namespace hadal::cpu
