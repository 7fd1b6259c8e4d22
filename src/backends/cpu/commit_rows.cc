#include "ops/commit_rows.h"

#include <algorithm>
#include <cstring>

#include "backends/cpu/register.h"
#include "backends/cpu/rows.h"
#include "backends/cpu/sequence_state.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

void commit_sequence(const ops::CommitRows::Args& args, std::int64_t sequence) {
  const auto bytes = static_cast<std::size_t>(args.rows.extent(1) * size_of(args.rows.type()));
  const SequenceState state(args.layout, sequence);
  const std::int64_t count = args.count.as<std::int32_t>()[sequence];
  // Earlier rows would be overwritten by the later ones of the same slot.
  for (std::int64_t i = std::max<std::int64_t>(0, count - args.ring.extent(1)); i < count; ++i) {
    const std::int64_t position = state.start() + i + args.position_offset;
    if (position < 0) continue;
    std::memcpy(state.ring_row(args.ring, position), element(args.rows, state.first_row() + i, 0), bytes);
  }
}

void enqueue(ops::Stream& stream, const ops::CommitRows::Args& args) {
  const std::int64_t sequences = args.count.extent(0);
  const std::int64_t elements = args.rows.elements() / std::max<std::int64_t>(1, sequences);
  for_rows(backend_of(stream).pool(), sequences, elements, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t sequence = begin; sequence < end; ++sequence) commit_sequence(args, sequence);
  });
}

}  // namespace

void add_commit_rows(ops::OpTable& table) {
  table.add<ops::CommitRows>({.implementation = "cpu",
                              .supports = [](const ops::CommitRows::Args& args) { return is_f32_or_bf16(args.rows); },
                              .scratch_bytes = no_scratch<ops::CommitRows::Args>,
                              .enqueue = enqueue});
}

}  // namespace hadal::cpu
