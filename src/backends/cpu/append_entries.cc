#include "ops/append_entries.h"

#include <cstring>

#include "backends/cpu/register.h"
#include "backends/cpu/rows.h"
#include "backends/cpu/sequence_state.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

void enqueue(ops::Stream& /*stream*/, const ops::AppendEntries::Args& args) {
  const auto bytes = static_cast<std::size_t>(args.rows.extent(1) * size_of(args.rows.type()));
  for (std::int64_t block = 0; block < args.rows.extent(0); ++block) {
    const std::int64_t last_row = args.last_row.as<std::int32_t>()[block];
    const std::int64_t entry = args.layout.positions.as<std::int64_t>()[last_row] / args.ratio;
    const SequenceState state = SequenceState::of_row(args.layout, last_row);
    std::memcpy(state.entry(args.pages, entry), element(args.rows, block, 0), bytes);
  }
}

}  // namespace

void add_append_entries(ops::OpTable& table) {
  table.add<ops::AppendEntries>(
      {.implementation = "cpu",
       .supports = [](const ops::AppendEntries::Args& args) { return is_f32_or_bf16(args.rows); },
       .scratch_bytes = no_scratch<ops::AppendEntries::Args>,
       .enqueue = enqueue});
}

}  // namespace hadal::cpu
