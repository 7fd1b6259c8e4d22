#pragma once

#include <cstdint>
#include <string_view>

#include "ops/backend.h"
#include "tensor/tensor.h"

namespace hadal::ops {

struct AddPositionBias {
  static constexpr std::string_view name = "add_position_bias";
  struct Args {
    TensorView x;          // [rows, C] f32 | f64, changed in place
    TensorView positions;  // [rows] i64
    Weight bias;           // [period, C] f32
  };
};

/// x[row] += bias[positions[row] mod period]: the compressor's `ape`.
/// Errors: kInvalidArgument when shapes or types differ. Source: spec/model.md 2.5.
[[nodiscard]] Status add_position_bias(Stream& stream, const AddPositionBias::Args& args);

struct AddPositionBiasBackward {
  static constexpr std::string_view name = "add_position_bias_backward";
  struct Args {
    TensorView positions;  // [rows] i64
    TensorView d_x;        // [rows, C] f32 | f64: gradient at the sum, which is also the one at x
    TensorView d_bias;     // [period, C] like d_x, added to
  };
};

/// d_bias[positions[row] mod period] += d_x[row]. Errors: kInvalidArgument when shapes or types differ.
/// Source: spec/training.md 1.4.
[[nodiscard]] Status add_position_bias_backward(Stream& stream, const AddPositionBiasBackward::Args& args);

}  // namespace hadal::ops
