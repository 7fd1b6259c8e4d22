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

struct RoutedExpertsBackward {
  static constexpr std::string_view name = "routed_experts_backward";
  struct Args {
    TensorView input;    // [T, D] f32 | f64 | bf16; this and the next five as the forward operator had them
    TensorView experts;  // [T, K] i32, ascending
    TensorView weights;  // [T, K] f32 | f64
    ExpertWeights table;
    double swiglu_limit;
    Rounding rounding = Rounding::kNone;
    TensorView d_out;              // [T, D] f32 | f64
    TensorView d_input;            // [T, D] f32 | f64, overwritten
    TensorView d_weights;          // [T, K] f32 | f64, overwritten
    ExpertWeights gradients = {};  // f32 | f64 codes of the table's shapes, added to; count 0: not wanted
  };
};

/// With g, u the products of gate and up (computed again), a = swiglu(g, u), w the expert's weight of a token and
/// dA = d_out . down:  d_weights = <dA, a>, (dg, du) = swiglu_backward of w dA, d_input = sum over the chosen experts,
/// ascending, of dg . gate + du . up;  down += d_out^T . rounded(w a), gate += dg^T . input, up += du^T . input.
/// Roundings have gradient 1; where products are in bf16, d_out, dg and du are rounded to bf16 for them. The gradients
/// of an expert without tokens are not touched. Errors: kInvalidArgument when shapes or types differ. Source:
/// spec/training.md 1.8.
[[nodiscard]] Status routed_experts_backward(Stream& stream, const RoutedExpertsBackward::Args& args);

}  // namespace hadal::ops
