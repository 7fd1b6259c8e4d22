#pragma once

#include <cstdint>
#include <string_view>

#include "ops/backend.h"
#include "tensor/tensor.h"

namespace hadal::ops {

struct RmsNorm {
  static constexpr std::string_view name = "rms_norm";
  struct Args {
    TensorView input;    // [rows, C] f32 | f64 | bf16; rows may be strided
    Weight weight = {};  // [C] bf16 | f32; absent codes: no weight
    TensorView out;      // [rows, C] f32 | f64 | bf16; may alias input when the types are equal
    double eps;
  };
};

/// out = weight * input / sqrt(mean(input^2) + eps) over each row; statistics in f32 (f64 for f64 input), the sum in
/// the backend's fixed lane order, rounded once to out's type. Errors: kInvalidArgument when shapes or types differ.
/// Source: spec/model.md, notation; official class RMSNorm.
[[nodiscard]] Status rms_norm(Stream& stream, const RmsNorm::Args& args);

}  // namespace hadal::ops
