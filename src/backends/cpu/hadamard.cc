#include "ops/hadamard.h"

#include "backends/cpu/register.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

void enqueue(ops::Stream& stream, const ops::Hadamard::Args& args) {
  CpuBackend& backend = backend_of(stream);
  const std::int64_t channels = args.x.extent(1);
  for_rows(backend.pool(), args.x.extent(0), channels, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = begin; row < end; ++row) backend.kernels().hadamard(args.x.row<float>(row), channels);
  });
}

}  // namespace

void add_hadamard(ops::OpTable& table) {
  table.add<ops::Hadamard>({.implementation = "cpu",
                            .supports = [](const ops::Hadamard::Args& args) { return is_f32(args.x); },
                            .scratch_bytes = no_scratch<ops::Hadamard::Args>,
                            .enqueue = enqueue});
}

}  // namespace hadal::cpu
