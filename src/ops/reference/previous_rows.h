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

[[nodiscard]] inline bool uses_f64(const PreviousRowsBackward::Args& args) { return any_f64({args.d_rows.type()}); }

template <class T>
void previous_rows_backward(const PreviousRowsBackward::Args& args, Scratch) {
  for (std::int64_t row = 0; row < args.d_out.extent(0); ++row) {
    const std::int64_t sequence = args.layout.sequence.as<std::int32_t>()[row];
    const std::int64_t start = args.layout.start.as<std::int64_t>()[sequence];
    const std::int64_t position = args.layout.positions.as<std::int64_t>()[row];
    if (position <= start) continue;
    const std::int64_t source = args.layout.first_row.as<std::int32_t>()[sequence] + position - 1 - start;
    const std::int64_t from = offset_of(args.d_out, row);
    const std::int64_t to = offset_of(args.d_rows, source);
    for (std::int64_t c = 0; c < args.d_out.extent(1); ++c) {
      store(args.d_rows, to + c, load<T>(args.d_rows, to + c) + load<T>(args.d_out, from + c));
    }
  }
}

}  // namespace hadal::ops::reference
