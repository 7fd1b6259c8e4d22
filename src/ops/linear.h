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

}  // namespace hadal::ops
