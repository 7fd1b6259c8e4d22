#pragma once

#include <algorithm>
#include <cmath>

#include "ops/reference/elements.h"
#include "ops/reference/scratch.h"
#include "ops/swiglu.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const Swiglu::Args& args) { return any_f64({args.gate.type(), args.up.type()}); }

/// silu(min(gate, limit)) * clamp(up, -limit, limit); limit 0: no clamp. NaN stays NaN.
template <class T>
[[nodiscard]] T swiglu_value(T gate, T up, T limit) {
  if (limit > 0) {
    gate = std::min(gate, limit);
    up = std::clamp(up, -limit, limit);
  }
  return gate / (1 + std::exp(-gate)) * up;
}

template <class T>
struct SwigluGradient {
  T gate;
  T up;
};

/// d_out times the derivatives of swiglu_value; 0 beyond a clamp, NaN stays NaN.
template <class T>
[[nodiscard]] SwigluGradient<T> swiglu_gradient(T gate, T up, T limit, T d_out) {
  const bool gate_clamped = limit > 0 && gate > limit;
  const bool up_clamped = limit > 0 && std::abs(up) > limit;
  if (gate_clamped) gate = limit;
  if (up_clamped) up = std::copysign(limit, up);
  const T sigmoid = 1 / (1 + std::exp(-gate));
  return {.gate = gate_clamped ? T{0} : d_out * up * sigmoid * (1 + gate * (1 - sigmoid)),
          .up = up_clamped ? T{0} : d_out * gate * sigmoid};
}

template <class T>
void swiglu(const Swiglu::Args& args, Scratch) {
  for (std::int64_t row = 0; row < args.gate.extent(0); ++row) {
    const std::int64_t gate = offset_of(args.gate, row);
    const std::int64_t up = offset_of(args.up, row);
    const std::int64_t out = offset_of(args.out, row);
    for (std::int64_t c = 0; c < args.gate.extent(1); ++c) {
      store(args.out, out + c,
            swiglu_value(load<T>(args.gate, gate + c), load<T>(args.up, up + c), static_cast<T>(args.limit)));
    }
  }
}

[[nodiscard]] inline bool uses_f64(const SwigluBackward::Args& args) { return any_f64({args.gate.type()}); }

template <class T>
void swiglu_backward(const SwigluBackward::Args& args, Scratch) {
  for (std::int64_t i = 0; i < args.gate.elements(); ++i) {
    const SwigluGradient<T> gradient =
        swiglu_gradient(load<T>(args.gate, i), load<T>(args.up, i), static_cast<T>(args.limit), load<T>(args.d_out, i));
    store(args.d_gate, i, gradient.gate);
    store(args.d_up, i, gradient.up);
  }
}

}  // namespace hadal::ops::reference
