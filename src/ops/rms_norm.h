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

struct RmsNormBackward {
  static constexpr std::string_view name = "rms_norm_backward";
  struct Args {
    TensorView input;    // [rows, C] f32 | f64: what the forward operator read; rows may be strided
    Weight weight = {};  // [C] bf16 | f32; absent codes: no weight
    TensorView d_out;    // [rows, C] like input; rows may be strided
    double eps;
    TensorView d_input;             // [rows, C] like input: out; may alias d_out; rows may be strided
    bool accumulate_input = false;  // d_input is added to instead; then it may not alias d_out
    TensorView d_weight = {};       // [C] like input, added to; absent: not wanted
  };
};

/// With s = 1 / sqrt(mean(input^2) + eps), u = s input and a = weight d_out (d_out without a weight) of each row:
/// d_input = s (a - u mean(a u)); d_weight += sum over rows of d_out u.
/// Errors: kInvalidArgument when shapes or types differ. Source: spec/training.md 1.1.
[[nodiscard]] Status rms_norm_backward(Stream& stream, const RmsNormBackward::Args& args);

}  // namespace hadal::ops
