#pragma once

#include <cstdint>
#include <string_view>

#include "ops/backend.h"
#include "tensor/tensor.h"

namespace hadal::ops {

struct Swiglu {
  static constexpr std::string_view name = "swiglu";
  struct Args {
    TensorView gate;  // [T, I] f32 | f64
    TensorView up;    // like gate
    double limit;     // clamp of gate (above) and up (both sides); 0: none
    TensorView out;   // [T, I] f32 | f64 | bf16; may alias gate
  };
};

/// out = silu(min(gate, limit)) * clamp(up, -limit, limit), rounded once to out's type.
/// Errors: kInvalidArgument when shapes or types differ. Source: spec/model.md 2.7; official class Expert.
[[nodiscard]] Status swiglu(Stream& stream, const Swiglu::Args& args);

struct SwigluBackward {
  static constexpr std::string_view name = "swiglu_backward";
  struct Args {
    TensorView gate;    // [T, I] f32 | f64, as the forward operator had it
    TensorView up;      // like gate
    double limit;       // as the forward operator had it
    TensorView d_out;   // like gate
    TensorView d_gate;  // like gate; may be the same view as gate, up or d_out
    TensorView d_up;    // the same, but not d_gate
  };
};

/// With g' = min(gate, limit), u' = clamp(up, -limit, limit), s = sigmoid(g'):
/// d_gate = d_out * u' * s * (1 + g' (1 - s)) where gate <= limit, d_up = d_out * g' s where |up| <= limit, else 0.
/// Errors: kInvalidArgument when shapes or types differ. Source: spec/training.md 1.8.
[[nodiscard]] Status swiglu_backward(Stream& stream, const SwigluBackward::Args& args);

}  // namespace hadal::ops
