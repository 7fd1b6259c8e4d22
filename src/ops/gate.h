#pragma once

#include <cstdint>
#include <string_view>

#include "ops/backend.h"
#include "tensor/tensor.h"

namespace hadal::ops {

struct Gate {
  static constexpr std::string_view name = "gate";
  struct Args {
    TensorView logits;          // [T, E] f32 | f64: gate weight . x
    Weight bias = {};           // [E] f32, selection only; absent with token_experts
    Weight token_experts = {};  // [V, K] i64 (tid2eid); absent for learned routing
    TensorView tokens = {};     // [T] i64; needed with token_experts only
    double routed_scaling_factor;
    bool normalize;      // norm_topk_prob
    TensorView experts;  // [T, K] i32: out, ascending
    TensorView weights;  // [T, K] f32 | f64: out, in the order of experts
  };
};

/// s = sqrt(softplus(logits)) (softplus(u) = u above 20); experts = the K largest s + bias (lower id on ties, NaN
/// last), or the token's row of the table; weights = s_e / sum of the chosen s (ascending ids) * routed_scaling_factor.
/// Errors: kInvalidArgument when shapes or types differ. Source: spec/model.md 2.7; official class Gate.
[[nodiscard]] Status gate(Stream& stream, const Gate::Args& args);

}  // namespace hadal::ops
