#pragma once

#include <cstdint>
#include <string_view>

#include "ops/backend.h"
#include "ops/step_layout.h"
#include "tensor/tensor.h"

namespace hadal::ops {

struct AppendEntries {
  static constexpr std::string_view name = "append_entries";
  struct Args {
    TensorView rows;      // [blocks, C]
    TensorView last_row;  // [blocks] i32: as in `compress`
    StepLayout layout;
    std::int64_t ratio;
    TensorView pages;  // [pages, 128 / ratio, C] of the rows' type: written
  };
};

/// Writes entry j = position / ratio of the block that ends at row last_row[b] to its place in its sequence's pages:
/// page_table[sequence][j / R], row j mod R with R = 128 / ratio.
/// Errors: kInvalidArgument when shapes or types differ. Source: spec/model.md 2.5 (entries never change once made).
[[nodiscard]] Status append_entries(Stream& stream, const AppendEntries::Args& args);

}  // namespace hadal::ops
