#pragma once

#include <cstdint>
#include <string_view>

#include "ops/backend.h"
#include "ops/round_rows.h"
#include "tensor/tensor.h"

namespace hadal::ops {

struct RoutedExperts {
  static constexpr std::string_view name = "routed_experts";
  struct Args {
    TensorView input;    // [T, D] f32 | f64 | bf16, already rounded as the profile asks
    TensorView experts;  // [T, K] i32, ascending
    TensorView weights;  // [T, K] f32 | f64
    ExpertWeights table;
    double swiglu_limit;  // 0: no clamp
    Rounding rounding;    // of the SwiGLU result before the down projection (a bf16 input also rounds it to bf16)
    TensorView out;       // [T, D] f32 | f64
  };
};

/// out = sum over the chosen experts, ascending, of down_e . (weight_e * swiglu(gate_e . x, up_e . x)). Sums of
/// products as in `linear`, the sum over experts in f32 (f64 for f64). An expert named twice contributes twice. Errors:
/// kInvalidArgument when shapes or types differ. Source: spec/model.md 2.7; official class MoE.
[[nodiscard]] Status routed_experts(Stream& stream, const RoutedExperts::Args& args);

}  // namespace hadal::ops
