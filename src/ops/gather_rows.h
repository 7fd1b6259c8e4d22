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

struct GatherRowsBackward {
  static constexpr std::string_view name = "gather_rows_backward";
  struct Args {
    TensorView d_out;    // [R, C] f32 | f64; rows may be strided
    TensorView index;    // [R] i32, each in [0, rows)
    TensorView d_input;  // [rows, C] like d_out: out; rows may be strided
  };
};

/// d_input[i] = sum of d_out[r] over the r with index[r] = i, r ascending; 0 where there is none. With R = 0 d_input
/// is cleared as well. Errors: kInvalidArgument when shapes or types differ.
[[nodiscard]] Status gather_rows_backward(Stream& stream, const GatherRowsBackward::Args& args);

}  // namespace hadal::ops
