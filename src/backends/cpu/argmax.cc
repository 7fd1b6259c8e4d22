#include "ops/argmax.h"

#include "backends/cpu/register.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

void enqueue(ops::Stream& stream, const ops::Argmax::Args& args) {
  CpuBackend& backend = backend_of(stream);
  const std::int64_t count = args.logits.extent(1);
  for_rows(backend.pool(), args.logits.extent(0), count, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = begin; row < end; ++row) {
      args.out.as<std::int64_t>()[row] = backend.kernels().argmax(args.logits.row<float>(row), count);
    }
  });
}

}  // namespace

void add_argmax(ops::OpTable& table) {
  table.add<ops::Argmax>({.implementation = "cpu",
                          .supports = [](const ops::Argmax::Args& args) { return is_f32(args.logits); },
                          .scratch_bytes = no_scratch<ops::Argmax::Args>,
                          .enqueue = enqueue});
}

}  // namespace hadal::cpu
