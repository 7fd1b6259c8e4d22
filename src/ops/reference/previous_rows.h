#pragma once

#include <cstring>

#include "ops/previous_rows.h"
#include "ops/reference/row_place.h"
#include "ops/reference/scratch.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const PreviousRows::Args& args) { return any_f64({args.rows.type()}); }

/// A plain copy: the same for float and double.
template <class T>
void previous_rows(const PreviousRows::Args& args, Scratch) {
  const std::int64_t element = size_of(args.rows.type());
  const auto bytes = static_cast<std::size_t>(args.rows.extent(1) * element);
  for (std::int64_t row = 0; row < args.out.extent(0); ++row) {
    std::byte* out = args.out.bytes() + offset_of(args.out, row) * element;
    const std::int64_t position = args.layout.positions.as<std::int64_t>()[row];
    if (position == 0) {
      std::memset(out, 0, bytes);
      continue;
    }
    const std::int64_t sequence = args.layout.sequence.as<std::int32_t>()[row];
    const RowPlace place = place_of_position(args.layout, args.rows, args.ring, sequence, position - 1);
    std::memcpy(out, place.view->bytes() + place.offset * element, bytes);
  }
}

}  // namespace hadal::ops::reference
