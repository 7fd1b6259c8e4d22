#pragma once

#include <cstdint>
#include <string_view>

#include "ops/backend.h"
#include "tensor/tensor.h"

namespace hadal::ops {

struct Argmax {
  static constexpr std::string_view name = "argmax";
  struct Args {
    TensorView logits;  // [rows, V] f32 | f64
    TensorView out;     // [rows] i64
  };
};

/// out = index of the largest value; the lower index on ties; NaN counts as smallest.
/// Errors: kInvalidArgument when shapes or types differ.
[[nodiscard]] Status argmax(Stream& stream, const Argmax::Args& args);

}  // namespace hadal::ops
