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

}  // namespace hadal::ops
