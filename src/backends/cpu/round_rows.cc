#include "ops/round_rows.h"

#include <algorithm>
#include <cstring>

#include "backends/cpu/register.h"
#include "backends/cpu/rounding.h"
#include "backends/cpu/rows.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

void round_row(const OperatorKernels& kernels, const ops::RoundRows::Args& args, std::int64_t row) {
  const std::int64_t channels = args.input.extent(1);
  alignas(64) float piece[kPiece];  // a whole number of blocks
  for (std::int64_t channel = 0; channel < channels;) {
    const bool rounds = args.rounding != ops::Rounding::kNone && channel < args.channels;
    const std::int64_t end = rounds ? args.channels : channels;
    const std::int64_t count = std::min(kPiece, end - channel);
    std::memcpy(piece, element(args.input, row, channel), static_cast<std::size_t>(count) * sizeof(float));
    if (rounds) round_blocks(kernels, args.rounding, piece, count);
    write_f32(kernels, args.out.type(), piece, count, element(args.out, row, channel));
    channel += count;
  }
}

void enqueue(ops::Stream& stream, const ops::RoundRows::Args& args) {
  CpuBackend& backend = backend_of(stream);
  for_rows(backend.pool(), args.input.extent(0), args.input.extent(1), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = begin; row < end; ++row) round_row(backend.kernels(), args, row);
  });
}

}  // namespace

void add_round_rows(ops::OpTable& table) {
  table.add<ops::RoundRows>(
      {.implementation = "cpu",
       .supports = [](const ops::RoundRows::Args& args) { return is_f32(args.input) && is_f32_or_bf16(args.out); },
       .scratch_bytes = no_scratch<ops::RoundRows::Args>,
       .enqueue = enqueue});
}

}  // namespace hadal::cpu
