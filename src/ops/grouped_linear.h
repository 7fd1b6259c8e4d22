#pragma once

#include <cstdint>
#include <string_view>

#include "ops/backend.h"
#include "tensor/tensor.h"

namespace hadal::ops {

struct GroupedLinear {
  static constexpr std::string_view name = "grouped_linear";
  struct Args {
    TensorView input;  // [rows, groups * K] f32 | f64 | bf16
    Weight weight;     // [groups * N, K]: rows g*N .. (g+1)*N belong to group g
    std::int64_t groups;
    TensorView out;  // [rows, groups * N] f32 | f64
  };
};

/// out[:, g*N..] = input[:, g*K..(g+1)*K] . weight[g*N..(g+1)*N]^T for each group g; arithmetic as `linear`.
/// Errors: kInvalidArgument when shapes or types differ. Source: spec/model.md 2.3, output projection (wo_a).
[[nodiscard]] Status grouped_linear(Stream& stream, const GroupedLinear::Args& args);

struct GroupedLinearBackward {
  static constexpr std::string_view name = "grouped_linear_backward";
  struct Args {
    TensorView input;  // [T, groups * K] f32 | f64 | bf16, as the forward operator had it
    Weight weight;     // [groups * N, K]
    std::int64_t groups;
    TensorView d_out;               // [T, groups * N] f32 | f64
    TensorView d_input = {};        // [T, groups * K] f32 | f64; absent: not wanted
    bool accumulate_input = false;  // adds to d_input instead of overwriting it
    TensorView d_weight = {};       // [groups * N, K] f32 | f64, added to; absent: not wanted
  };
};

/// The gradients of `linear_backward` for each group g: columns g*K.. of input and d_input, columns g*N.. of d_out,
/// rows g*N.. of weight and d_weight. Errors: kInvalidArgument when shapes or types differ. Source:
/// spec/training.md 1.6.
[[nodiscard]] Status grouped_linear_backward(Stream& stream, const GroupedLinearBackward::Args& args);

}  // namespace hadal::ops
