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

}  // namespace hadal::ops
