#pragma once

#include <cstdint>

#include "ops/reference/elements.h"
#include "ops/step_layout.h"

namespace hadal::ops::reference {

/// Where a row lies: a tensor and the row's element offset in it.
struct RowPlace {
  const TensorView* view;
  std::int64_t offset;

  template <class E>
  [[nodiscard]] const E* as() const {
    return view->as<E>() + offset;
  }
};

/// The row of `position` of a sequence: in this step's rows from layout.start on, below it in the sequence's ring.
[[nodiscard]] inline RowPlace place_of_position(const StepLayout& layout, const TensorView& step_rows,
                                                const TensorView& ring, std::int64_t sequence, std::int64_t position) {
  const std::int64_t start = layout.start.as<std::int64_t>()[sequence];
  if (position >= start) {
    const std::int64_t row = layout.first_row.as<std::int32_t>()[sequence] + (position - start);
    return {&step_rows, offset_of(step_rows, row)};
  }
  const std::int64_t slot = layout.state_slot.as<std::int32_t>()[sequence];
  return {&ring, offset_of(ring, slot, position % ring.extent(1))};
}

/// Compressed entry `entry` of a sequence in its pages.
[[nodiscard]] inline RowPlace place_of_entry(const StepLayout& layout, const TensorView& pages, std::int64_t ratio,
                                             std::int64_t sequence, std::int64_t entry) {
  const std::int64_t entries_per_page = kPageTokens / ratio;
  const std::int64_t page = layout.page_table.row<std::int32_t>(sequence)[entry / entries_per_page];
  return {&pages, offset_of(pages, page, entry % entries_per_page)};
}

/// Entries that a query at `position` may see: those of blocks that are complete with its own token.
[[nodiscard]] constexpr std::int64_t visible_entries(std::int64_t position, std::int64_t ratio) {
  return (position + 1) / ratio;
}

}  // namespace hadal::ops::reference
