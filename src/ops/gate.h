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

struct GateBackward {
  static constexpr std::string_view name = "gate_backward";
  struct Args {
    TensorView logits;     // [T, E] f32 | f64
    TensorView experts;    // [T, K] i32: the forward operator's choice, held constant
    TensorView d_weights;  // [T, K] like logits
    double routed_scaling_factor;
    bool normalize;
    TensorView sequence = {};      // [T] i32: each row's sequence, below 0: none; needed with a balance loss only
    std::int64_t sequences = 0;    // how many there are
    double balance_weight = 0;     // factor of the sum of the sequences' balance losses; 0: no gradient from it
    TensorView balance_loss = {};  // [sequences] like logits: out, not multiplied by balance_weight; absent: not wanted
    TensorView d_logits;           // [T, E] like logits: out; may alias logits
  };
};

/// With s = sqrt(softplus(u)) and S the sum of the chosen s: ds_e = factor / S (d_weight_e - sum of d_weight s / S) for
/// the chosen (factor * d_weight_e without normalize; an expert that was chosen twice gets both), and d_logits = ds
/// ds/du. The balance loss of a sequence of L rows is sum_e f_e P_e with f_e = E / (K L) * how often e was chosen
/// (constant) and P_e = the mean over rows of s_e / sum of all s; 0 without rows. Errors: kInvalidArgument when shapes
/// or types differ. Source: spec/training.md 1.8, 2.4.
[[nodiscard]] Status gate_backward(Stream& stream, const GateBackward::Args& args);

}  // namespace hadal::ops
