#pragma once

#include <cstdint>
#include <string_view>

#include "ops/backend.h"
#include "ops/step_layout.h"
#include "tensor/tensor.h"

namespace hadal::ops {

struct PreviousRows {
  static constexpr std::string_view name = "previous_rows";
  struct Args {
    TensorView rows;    // [T, C] f32 | f64: rows of this step
    TensorView ring;    // [slots, ring rows, C] like rows: committed rows, position p in slot p mod ring rows
    StepLayout layout;  // of the step whose rows these are
    TensorView out;     // [T, C] like rows
  };
};

/// out[t] = the row of position positions[t] - 1 of the same sequence: from this step, or from the ring for a
/// sequence's first row; zeros at position 0. Errors: kInvalidArgument when shapes or types differ. Source:
/// spec/model.md 2.9 (MTP input).
[[nodiscard]] Status previous_rows(Stream& stream, const PreviousRows::Args& args);

struct PreviousRowsBackward {
  static constexpr std::string_view name = "previous_rows_backward";
  struct Args {
    TensorView d_out;   // [T, C] f32 | f64
    StepLayout layout;  // of the step whose rows these are
    TensorView d_rows;  // [T, C] like d_out, added to
  };
};

/// d_rows[the row of position p - 1] += d_out[the row of position p] of the same sequence. A sequence's first row in
/// the step read zeros or committed state, so its gradient ends here. Errors: kInvalidArgument when shapes or types
/// differ. Source: spec/training.md 1.9 (MTP).
[[nodiscard]] Status previous_rows_backward(Stream& stream, const PreviousRowsBackward::Args& args);

}  // namespace hadal::ops
