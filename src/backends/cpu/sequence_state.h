#pragma once

#include <cstdint>

#include "ops/step_layout.h"
#include "tensor/tensor.h"

namespace hadal::cpu {

/// Where the rows of one query row's sequence lie: in this step's rows, in its ring, or on its pages.
class SequenceState {
 public:
  SequenceState(const ops::StepLayout& layout, std::int64_t sequence)
      : first_row_(layout.first_row.as<std::int32_t>()[sequence]),
        start_(layout.start.as<std::int64_t>()[sequence]),
        slot_(layout.state_slot.as<std::int32_t>()[sequence]),
        pages_(layout.page_table.absent() ? nullptr : layout.page_table.row<std::int32_t>(sequence)) {}

  [[nodiscard]] static SequenceState of_row(const ops::StepLayout& layout, std::int64_t row) {
    return SequenceState(layout, layout.sequence.as<std::int32_t>()[row]);
  }

  [[nodiscard]] std::int64_t start() const { return start_; }
  [[nodiscard]] std::int64_t first_row() const { return first_row_; }

  /// The row of `position` in a ring [slots, ring rows, C] of committed rows.
  [[nodiscard]] std::byte* ring_row(const TensorView& ring, std::int64_t position) const {
    return ring.bytes() + (slot_ * ring.stride(0) + position % ring.extent(1) * ring.stride(1)) * size_of(ring.type());
  }
  /// The row of `position`, from this step's rows [rows, C] or else from the ring.
  [[nodiscard]] std::byte* row(const TensorView& step_rows, const TensorView& ring, std::int64_t position) const {
    if (position < start_) return ring_row(ring, position);
    return step_rows.bytes() + (first_row_ + position - start_) * step_rows.stride(0) * size_of(step_rows.type());
  }
  /// Entry `index` of pages [pages, rows a page, C].
  [[nodiscard]] std::byte* entry(const TensorView& pages, std::int64_t index) const {
    const std::int64_t rows = pages.extent(1);
    return pages.bytes() +
           (pages_[index / rows] * pages.stride(0) + index % rows * pages.stride(1)) * size_of(pages.type());
  }

 private:
  std::int64_t first_row_;
  std::int64_t start_;
  std::int64_t slot_;
  const std::int32_t* pages_;
};

}  // namespace hadal::cpu
