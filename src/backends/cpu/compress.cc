#include "ops/compress.h"

#include <algorithm>

#include "backends/cpu/register.h"
#include "backends/cpu/sequence_state.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

/// Addresses of the rows that a block pools; kept in scratch memory, `slots` of each a worker.
struct Slots {
  const float** gates;
  const float** values;
  std::int64_t count = 0;
};

std::int64_t max_slots(const ops::Compress::Args& args) { return args.overlap ? 2 * args.ratio : args.ratio; }

const float* row_of(const SequenceState& state, const TensorView& rows, const TensorView& ring, std::int64_t position,
                    std::int64_t channel) {
  return static_cast<const float*>(static_cast<const void*>(state.row(rows, ring, position))) + channel;
}

void add_slots(const ops::Compress::Args& args, const SequenceState& state, std::int64_t first_position,
               std::int64_t channel, Slots& slots) {
  for (std::int64_t position = first_position; position < first_position + args.ratio; ++position) {
    slots.gates[slots.count] = row_of(state, args.gate, args.gate_ring, position, channel);
    slots.values[slots.count] = row_of(state, args.value, args.value_ring, position, channel);
    ++slots.count;
  }
}

void enqueue(ops::Stream& stream, const ops::Compress::Args& args) {
  CpuBackend& backend = backend_of(stream);
  const std::int64_t channels = args.out.extent(1);
  constexpr std::int64_t kPart = 128;  // channels a unit of work: a lone block is shared out too
  const std::int64_t parts = (channels + kPart - 1) / kPart;
  const std::int64_t slot_count = max_slots(args);
  auto** memory = Carver(stream.scratch()).take<const float*>(2 * slot_count * backend.workers());
  for_rows(backend.pool(), args.out.extent(0) * parts, 4 * slot_count * kPart,
           [&](std::int64_t begin, std::int64_t end, int worker) {
             Slots slots{.gates = memory + 2 * slot_count * worker,
                         .values = memory + 2 * slot_count * worker + slot_count};
             for (std::int64_t i = begin; i < end; ++i) {
               const std::int64_t block = i / parts;
               const std::int64_t channel = i % parts * kPart;
               const std::int64_t last_row = args.last_row.as<std::int32_t>()[block];
               const SequenceState state = SequenceState::of_row(args.layout, last_row);
               const std::int64_t first = args.layout.positions.as<std::int64_t>()[last_row] - args.ratio + 1;
               slots.count = 0;
               if (args.overlap && first >= args.ratio) add_slots(args, state, first - args.ratio, channel, slots);
               add_slots(args, state, first, args.overlap ? channels + channel : channel, slots);
               backend.kernels().pool(slots.gates, slots.values, slots.count, args.out.row<float>(block) + channel,
                                      std::min(kPart, channels - channel));
             }
           });
}

}  // namespace

void add_compress(ops::OpTable& table) {
  table.add<ops::Compress>({.implementation = "cpu",
                            .supports = [](const ops::Compress::Args& args) { return is_f32(args.value); },
                            .scratch_bytes =
                                [](const ops::Backend& backend, const ops::Compress::Args& args) {
                                  return padded(2 * max_slots(args) * backend.workers() *
                                                static_cast<std::int64_t>(sizeof(const float*)));
                                },
                            .enqueue = enqueue});
}

}  // namespace hadal::cpu
