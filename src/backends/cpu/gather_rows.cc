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

/// Each worker takes rows of d_input and looks for those that named them.
void enqueue_backward(ops::Stream& stream, const ops::GatherRowsBackward::Args& args) {
  CpuBackend& backend = backend_of(stream);
  const std::int64_t channels = args.d_input.extent(1);
  for_rows(backend.pool(), args.d_input.extent(0), channels, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = begin; row < end; ++row) {
      float* d_input = args.d_input.row<float>(row);
      std::fill(d_input, d_input + channels, 0.0F);
    }
    for (std::int64_t row = 0; row < args.index.extent(0); ++row) {
      const std::int64_t source = args.index.as<std::int32_t>()[row];
      if (source < begin || source >= end) continue;
      backend.kernels().accumulate(args.d_out.row<float>(row), args.d_input.row<float>(source), channels);
    }
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
  table.add<ops::GatherRowsBackward>(
      {.implementation = "cpu",
       .supports = [](const ops::GatherRowsBackward::Args& args) { return is_f32(args.d_input); },
       .scratch_bytes = no_scratch<ops::GatherRowsBackward::Args>,
       .enqueue = enqueue_backward});
}

}  // namespace hadal::cpu
