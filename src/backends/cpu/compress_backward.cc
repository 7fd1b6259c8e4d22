#include <algorithm>

#include "backends/cpu/register.h"
#include "backends/cpu/work.h"
#include "ops/compress.h"

namespace hadal::cpu {
namespace {

using Args = ops::CompressBackward::Args;

/// Addresses of the rows that a block pools and of their gradients; kept in scratch memory.
struct Slots {
  const float** gates;
  const float** values;
  float** d_gates;
  float** d_values;
  std::int64_t count = 0;

  static std::int64_t most(const Args& args) { return args.overlap ? 2 * args.ratio : args.ratio; }
  static std::int64_t bytes(const Args& args) {
    return 4 * padded(most(args) * static_cast<std::int64_t>(sizeof(float*)));
  }
  Slots(std::byte* memory, const Args& args) {
    Carver carver(memory);
    gates = carver.take<const float*>(most(args));
    values = carver.take<const float*>(most(args));
    d_gates = carver.take<float*>(most(args));
    d_values = carver.take<float*>(most(args));
  }

  /// The rows [row, row + ratio) of the step, from `channel` on.
  void add(const Args& args, std::int64_t row, std::int64_t channel) {
    for (const std::int64_t end = row + args.ratio; row < end; ++row, ++count) {
      gates[count] = args.gate.row<float>(row) + channel;
      values[count] = args.value.row<float>(row) + channel;
      d_gates[count] = args.d_gate.row<float>(row) + channel;
      d_values[count] = args.d_value.row<float>(row) + channel;
    }
  }
};

void zero(const Args& args, std::int64_t row, std::int64_t rows, std::int64_t channel, std::int64_t channels) {
  for (std::int64_t i = row; i < row + rows; ++i) {
    std::fill_n(args.d_value.row<float>(i) + channel, channels, 0.0F);
    std::fill_n(args.d_gate.row<float>(i) + channel, channels, 0.0F);
  }
}

/// Rows of the sequence of `row` from `row` on.
std::int64_t rows_left(const ops::StepLayout& layout, std::int64_t row) {
  const auto* sequence = layout.sequence.as<std::int32_t>();
  std::int64_t end = row;
  while (end < layout.sequence.extent(0) && sequence[end] == sequence[row]) ++end;
  return end - row;
}

void enqueue(ops::Stream& stream, const Args& args) {
  CpuBackend& backend = backend_of(stream);
  const std::int64_t tokens = args.value.extent(0);
  const std::int64_t channels = args.d_out.extent(1);
  const std::int64_t own = args.overlap ? channels : 0;  // first channel of a row's part in its own block
  const std::int64_t blocks = args.last_row.extent(0);
  const auto* last_row = args.last_row.as<std::int32_t>();
  const auto* positions = args.layout.positions.as<std::int64_t>();
  for_rows(
      backend.pool(), blocks, 8 * Slots::most(args) * channels, [&](std::int64_t begin, std::int64_t end, int worker) {
        for (std::int64_t block = begin; block < end; ++block) {
          Slots slots(stream.scratch() + worker * Slots::bytes(args), args);
          const std::int64_t first = last_row[block] + 1 - args.ratio;
          if (args.overlap && positions[first] > 0) slots.add(args, first - args.ratio, 0);
          slots.add(args, first, own);
          backend.block_kernels().pool_gradient(slots.gates, slots.values, slots.count, args.d_out.row<float>(block),
                                                slots.d_gates, slots.d_values, channels);
        }
      });
  // What no block has written: rows behind the last block of their sequence, and that block's first half of channels.
  for (std::int64_t row = 0; row < tokens;) {
    const std::int64_t rows = rows_left(args.layout, row);
    const std::int64_t whole = rows / args.ratio * args.ratio;
    zero(args, row + whole, rows - whole, 0, own + channels);
    if (args.overlap && whole > 0) zero(args, row + whole - args.ratio, args.ratio, 0, channels);
    row += rows;
  }
}

}  // namespace

void add_compress_backward(ops::OpTable& table) {
  table.add<ops::CompressBackward>(
      {.implementation = "cpu",
       .supports = [](const Args& args) { return is_f32(args.value); },
       .scratch_bytes = [](const ops::Backend& backend,
                           const Args& args) { return Slots::bytes(args) * backend.workers(); },
       .enqueue = enqueue});
}

}  // namespace hadal::cpu
