#include "ops/add.h"

#include "backends/cpu/register.h"
#include "backends/cpu/rows.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

void enqueue(ops::Stream& stream, const ops::Add::Args& args) {
  CpuBackend& backend = backend_of(stream);
  const std::int64_t channels = args.a.extent(1);
  for_rows(backend.pool(), args.a.extent(0), channels, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = begin; row < end; ++row) {
      backend.kernels().add(args.a.row<float>(row), args.b.row<float>(row / args.repeat), args.out.row<float>(row),
                            channels);
    }
  });
}

}  // namespace

void add_add(ops::OpTable& table) {
  table.add<ops::Add>({.implementation = "cpu",
                       .supports = [](const ops::Add::Args& args) { return is_f32(args.a); },
                       .scratch_bytes = no_scratch<ops::Add::Args>,
                       .enqueue = enqueue});
}

}  // namespace hadal::cpu
