#pragma once

#include <cstdint>
#include <string_view>

#include "ops/backend.h"
#include "tensor/tensor.h"

namespace hadal::ops {

struct GatherRows {
  static constexpr std::string_view name = "gather_rows";
  struct Args {
    TensorView input;  // [rows, C] f32 | f64 | bf16; rows may be strided
    TensorView index;  // [R] i32, each in [0, rows)
    TensorView out;    // [R, C] f32 | f64 | bf16; rows may be strided
  };
};

/// out[r] = input[index[r]], converted to out's type. Errors: kInvalidArgument when shapes or types differ.
[[nodiscard]] Status gather_rows(Stream& stream, const GatherRows::Args& args);

}  // namespace hadal::ops
