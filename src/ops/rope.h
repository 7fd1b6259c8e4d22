#pragma once

#include <cstdint>
#include <string_view>

#include "ops/backend.h"
#include "tensor/tensor.h"

namespace hadal::ops {

struct Rope {
  static constexpr std::string_view name = "rope";
  struct Args {
    TensorView x;            // [rows, heads, C] f32 | f64, changed in place; the last R channels are rotated
    TensorView positions;    // [rows] i64
    TensorView frequencies;  // [R / 2] f32, radians a position
    bool inverse;            // rotate by the negative angle
  };
};

/// Interleaved rotary embedding of the last R channels: pair (2i, 2i+1) is multiplied by e^(+-j a), a =
/// float32(position) * frequencies[i] rounded to float32; cos and sin are made here (error below 2e-7 in f32, exact to
/// rounding in f64). Errors: kInvalidArgument when shapes or types differ or R > C. Source: spec/model.md 2.2.
[[nodiscard]] Status rope(Stream& stream, const Rope::Args& args);

}  // namespace hadal::ops
