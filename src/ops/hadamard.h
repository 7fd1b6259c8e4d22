#pragma once

#include <cstdint>
#include <string_view>

#include "ops/backend.h"
#include "tensor/tensor.h"

namespace hadal::ops {

struct Hadamard {
  static constexpr std::string_view name = "hadamard";
  struct Args {
    TensorView x;  // [rows, C] f32 | f64, changed in place; C a power of two
  };
};

/// Normalised Walsh-Hadamard transform of each row in natural order: H[i][j] = (-1)^popcount(i & j) / sqrt(C).
/// Butterflies from stride 1 upwards, one multiplication by 1/sqrt(C) at the end. Its own inverse.
/// Errors: kInvalidArgument. Source: spec/model.md 3.3.
[[nodiscard]] Status hadamard(Stream& stream, const Hadamard::Args& args);

}  // namespace hadal::ops
