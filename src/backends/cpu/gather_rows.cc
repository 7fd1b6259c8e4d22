#include "ops/gather_rows.h"

#include <algorithm>
#include <cstring>

#include "backends/cpu/register.h"
#include "backends/cpu/rows.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

void gather(const OperatorKernels& kernels, const ops::GatherRows::Args& args, std::int64_t row) {
  const std::int64_t source = args.index.as<std::int32_t>()[row];
  const std::int64_t channels = args.out.extent(1);
  if (args.input.type() == args.out.type()) {
    std::memcpy(element(args.out, row, 0), element(args.input, source, 0),
                static_cast<std::size_t>(channels * size_of(args.out.type())));
    return;
  }
  alignas(64) float piece[kPiece];
  for (std::int64_t channel = 0; channel < channels; channel += kPiece) {
    const std::int64_t count = std::min(kPiece, channels - channel);
    const float* values = read_f32(kernels, args.input.type(), element(args.input, source, channel), count, piece);
    write_f32(kernels, args.out.type(), values, count, element(args.out, row, channel));
  }
}

void enqueue(ops::Stream& stream, const ops::GatherRows::Args& args) {
  CpuBackend& backend = backend_of(stream);
  for_rows(backend.pool(), args.out.extent(0), args.out.extent(1), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = begin; row < end; ++row) gather(backend.kernels(), args, row);
  });
}

}  // namespace

void add_gather_rows(ops::OpTable& table) {
  table.add<ops::GatherRows>(
      {.implementation = "cpu",
       .supports =
           [](const ops::GatherRows::Args& args) { return is_f32_or_bf16(args.input) && is_f32_or_bf16(args.out); },
       .scratch_bytes = no_scratch<ops::GatherRows::Args>,
       .enqueue = enqueue});
}

}  // namespace hadal::cpu
