#pragma once

#include <cstring>

#include "ops/append_entries.h"
#include "ops/reference/row_place.h"
#include "ops/reference/scratch.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const AppendEntries::Args& args) { return any_f64({args.rows.type()}); }

/// A plain copy: the same for float and double.
template <class T>
void append_entries(const AppendEntries::Args& args, Scratch) {
  const std::int64_t element = size_of(args.rows.type());
  for (std::int64_t block = 0; block < args.rows.extent(0); ++block) {
    const std::int64_t row = args.last_row.as<std::int32_t>()[block];
    const std::int64_t sequence = args.layout.sequence.as<std::int32_t>()[row];
    const std::int64_t entry = args.layout.positions.as<std::int64_t>()[row] / args.ratio;
    const RowPlace place = place_of_entry(args.layout, args.pages, args.ratio, sequence, entry);
    std::memcpy(place.view->bytes() + place.offset * element, args.rows.bytes() + offset_of(args.rows, block) * element,
                static_cast<std::size_t>(args.rows.extent(1) * element));
  }
}

}  // namespace hadal::ops::reference
