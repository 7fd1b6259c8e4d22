#pragma once

#include <cstdint>
#include <string_view>

#include "ops/backend.h"
#include "ops/step_layout.h"
#include "tensor/tensor.h"

namespace hadal::ops {

struct CommitRows {
  static constexpr std::string_view name = "commit_rows";
  struct Args {
    TensorView rows;               // [rows, C] f32 | f64 | bf16
    TensorView ring;               // [slots, ring rows, C] like rows: changed
    TensorView count;              // [S] i32: how many of each sequence's rows are accepted
    std::int64_t position_offset;  // row i of sequence s has position start[s] + i + position_offset; negative
                                   // positions are skipped
    StepLayout layout;
  };
};

/// Writes the first count[s] rows of each sequence to slot (position mod ring rows) of its ring; of more rows than the
/// ring has, the last ones. Errors: kInvalidArgument when shapes or types differ. Source: spec/dspark.md 7 (rings
/// change only at commit).
[[nodiscard]] Status commit_rows(Stream& stream, const CommitRows::Args& args);

}  // namespace hadal::ops
