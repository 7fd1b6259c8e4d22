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

}  // namespace hadal::ops::reference
