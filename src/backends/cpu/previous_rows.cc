#include "ops/previous_rows.h"

#include <cstring>

#include "backends/cpu/register.h"
#include "backends/cpu/rows.h"
#include "backends/cpu/sequence_state.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

void enqueue(ops::Stream& stream, const ops::PreviousRows::Args& args) {
  const std::int64_t channels = args.out.extent(1);
  const auto bytes = static_cast<std::size_t>(channels * size_of(args.out.type()));
  for_rows(backend_of(stream).pool(), args.out.extent(0), channels, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t position = args.layout.positions.as<std::int64_t>()[row];
      std::byte* out = element(args.out, row, 0);
      if (position == 0) {
        std::memset(out, 0, bytes);
      } else {
        std::memcpy(out, SequenceState::of_row(args.layout, row).row(args.rows, args.ring, position - 1), bytes);
      }
    }
  });
}

/// A row has at most one successor, so that rows go back independently.
void enqueue_backward(ops::Stream& stream, const ops::PreviousRowsBackward::Args& args) {
  CpuBackend& backend = backend_of(stream);
  const std::int64_t channels = args.d_out.extent(1);
  for_rows(backend.pool(), args.d_out.extent(0), channels, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t position = args.layout.positions.as<std::int64_t>()[row];
      const std::int64_t sequence = args.layout.sequence.as<std::int32_t>()[row];
      const std::int64_t before = position - args.layout.start.as<std::int64_t>()[sequence] - 1;
      if (before < 0) continue;
      float* d_row = args.d_rows.row<float>(args.layout.first_row.as<std::int32_t>()[sequence] + before);
      backend.kernels().accumulate(args.d_out.row<float>(row), d_row, channels);
    }
  });
}

}  // namespace

void add_previous_rows(ops::OpTable& table) {
  table.add<ops::PreviousRows>({.implementation = "cpu",
                                .supports = [](const ops::PreviousRows::Args& args) { return is_f32(args.rows); },
                                .scratch_bytes = no_scratch<ops::PreviousRows::Args>,
                                .enqueue = enqueue});
  table.add<ops::PreviousRowsBackward>(
      {.implementation = "cpu",
       .supports = [](const ops::PreviousRowsBackward::Args& args) { return is_f32(args.d_rows); },
       .scratch_bytes = no_scratch<ops::PreviousRowsBackward::Args>,
       .enqueue = enqueue_backward});
}

}  // namespace hadal::cpu
