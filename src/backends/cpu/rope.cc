#include "ops/rope.h"

#include <algorithm>

#include "backends/cpu/register.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

constexpr std::int64_t kPairs = 64;  // angles that are made at a time

void rotate_row(const OperatorKernels& kernels, const ops::Rope::Args& args, std::int64_t row) {
  const std::int64_t heads = args.x.extent(1);
  const std::int64_t pairs = args.frequencies.extent(0);
  const std::int64_t first = args.x.extent(2) - 2 * pairs;
  const std::int64_t position = args.positions.as<std::int64_t>()[row];
  alignas(64) float cosines[2 * kPairs];
  alignas(64) float sines[2 * kPairs];
  for (std::int64_t pair = 0; pair < pairs; pair += kPairs) {
    const std::int64_t count = std::min(kPairs, pairs - pair);
    kernels.rope_table(position, args.frequencies.as<float>() + pair, count, args.inverse, cosines, sines);
    for (std::int64_t head = 0; head < heads; ++head) {
      kernels.rotate(args.x.row<float>(row) + head * args.x.stride(1) + first + 2 * pair, cosines, sines, 2 * count);
    }
  }
}

void enqueue(ops::Stream& stream, const ops::Rope::Args& args) {
  CpuBackend& backend = backend_of(stream);
  const std::int64_t elements = (args.x.extent(1) + 8) * 2 * args.frequencies.extent(0);  // 8: the sines and cosines
  for_rows(backend.pool(), args.x.extent(0), elements, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = begin; row < end; ++row) rotate_row(backend.kernels(), args, row);
  });
}

}  // namespace

void add_rope(ops::OpTable& table) {
  table.add<ops::Rope>({.implementation = "cpu",
                        .supports = [](const ops::Rope::Args& args) { return is_f32(args.x); },
                        .scratch_bytes = no_scratch<ops::Rope::Args>,
                        .enqueue = enqueue});
}

}  // namespace hadal::cpu
