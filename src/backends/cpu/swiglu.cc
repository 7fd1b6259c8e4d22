#include "ops/swiglu.h"

#include <algorithm>
#include <limits>

#include "backends/cpu/register.h"
#include "backends/cpu/rows.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

void enqueue(ops::Stream& stream, const ops::Swiglu::Args& args) {
  CpuBackend& backend = backend_of(stream);
  const std::int64_t channels = args.gate.extent(1);
  const float limit = args.limit > 0 ? static_cast<float>(args.limit) : std::numeric_limits<float>::infinity();
  // Split by pieces, not rows: one row of a decode step is work for several threads.
  const std::int64_t pieces = (channels + kPiece - 1) / kPiece;
  for_rows(backend.pool(), args.gate.extent(0) * pieces, 4 * kPiece, [&](std::int64_t begin, std::int64_t end, int) {
    alignas(64) float piece[kPiece];
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t row = i / pieces;
      const std::int64_t channel = i % pieces * kPiece;
      const std::int64_t count = std::min(kPiece, channels - channel);
      backend.kernels().swiglu(args.gate.row<float>(row) + channel, args.up.row<float>(row) + channel, limit, 1.0F,
                               piece, count);
      write_f32(backend.kernels(), args.out.type(), piece, count, element(args.out, row, channel));
    }
  });
}

}  // namespace

void add_swiglu(ops::OpTable& table) {
  table.add<ops::Swiglu>(
      {.implementation = "cpu",
       .supports = [](const ops::Swiglu::Args& args) { return is_f32(args.gate) && is_f32_or_bf16(args.out); },
       .scratch_bytes = no_scratch<ops::Swiglu::Args>,
       .enqueue = enqueue});
}

}  // namespace hadal::cpu
