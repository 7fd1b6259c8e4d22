#pragma once

#include <cstring>

#include "ops/commit_rows.h"
#include "ops/reference/elements.h"
#include "ops/reference/scratch.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const CommitRows::Args& args) { return any_f64({args.rows.type()}); }

/// A plain copy: the same for float and double. Later rows overwrite earlier ones of the same slot.
template <class T>
void commit_rows(const CommitRows::Args& args, Scratch) {
  const std::int64_t element = size_of(args.rows.type());
  for (std::int64_t sequence = 0; sequence < args.count.extent(0); ++sequence) {
    const std::int64_t slot = args.layout.state_slot.as<std::int32_t>()[sequence];
    const std::int64_t first_row = args.layout.first_row.as<std::int32_t>()[sequence];
    const std::int64_t first_position = args.layout.start.as<std::int64_t>()[sequence] + args.position_offset;
    for (std::int64_t i = 0; i < args.count.as<std::int32_t>()[sequence]; ++i) {
      const std::int64_t position = first_position + i;
      if (position < 0) continue;
      std::memcpy(args.ring.bytes() + offset_of(args.ring, slot, position % args.ring.extent(1)) * element,
                  args.rows.bytes() + offset_of(args.rows, first_row + i) * element,
                  static_cast<std::size_t>(args.rows.extent(1) * element));
    }
  }
}

}  // namespace hadal::ops::reference
