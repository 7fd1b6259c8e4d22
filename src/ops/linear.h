#pragma once

#include <cstdint>
#include <string_view>

#include "ops/backend.h"
#include "tensor/tensor.h"

namespace hadal::ops {

struct Linear {
  static constexpr std::string_view name = "linear";
  struct Args {
    TensorView input;  // [rows, K] f32 | f64 | bf16; rows may be strided
    Weight weight;     // [N, K] f32 | bf16 | fp8 | fp4
    TensorView out;    // [rows, N] f32 | f64; rows may be strided
  };
};

/// out = input . weight^T with the weight's dequantised values. The input's type chooses the arithmetic: f32 and f64
/// round nothing; bf16 multiplies bf16 by bf16 (the dequantised weight is exact there) and adds in f32. The order of
/// the sum depends on K, types and instruction set only, never on the number of rows. Errors: kInvalidArgument when
/// shapes or types differ. Source: spec/model.md 3.2.
[[nodiscard]] Status linear(Stream& stream, const Linear::Args& args);

struct LinearBackward {
  static constexpr std::string_view name = "linear_backward";
  struct Args {
    TensorView input;               // [T, K] f32 | f64 | bf16, as the forward operator had it; rows may be strided
    Weight weight;                  // [N, K] f32 | bf16 | fp8 | fp4
    TensorView d_out;               // [T, N] f32 | f64; rows may be strided
    TensorView d_input = {};        // [T, K] f32 | f64; rows may be strided; absent: not wanted
    bool accumulate_input = false;  // adds to d_input instead of overwriting it
    TensorView d_weight = {};       // [N, K] f32 | f64, added to; rows may be strided; absent: not wanted
  };
};

/// d_input = d_out . weight and d_weight += d_out^T . input, tokens ascending in fixed chunks. Where input is
/// bf16 and weight exact in bf16, d_out is rounded to bf16 and sums are f32; else nothing is rounded.
/// Errors: kInvalidArgument when shapes or types differ. Source: spec/training.md 1.
[[nodiscard]] Status linear_backward(Stream& stream, const LinearBackward::Args& args);

}  // namespace hadal::ops
