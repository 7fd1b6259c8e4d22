#pragma once

#include <cmath>

#include "ops/hadamard.h"
#include "ops/reference/elements.h"
#include "ops/reference/scratch.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const Hadamard::Args& args) { return any_f64({args.x.type()}); }

template <class T>
void hadamard(const Hadamard::Args& args, Scratch) {
  const std::int64_t channels = args.x.extent(1);
  const T factor = static_cast<T>(1 / std::sqrt(static_cast<double>(channels)));
  for (std::int64_t row = 0; row < args.x.extent(0); ++row) {
    T* x = args.x.row<T>(row);
    for (std::int64_t stride = 1; stride < channels; stride *= 2) {
      for (std::int64_t i = 0; i < channels; ++i) {
        if ((i & stride) != 0) continue;
        const T a = x[i];
        const T b = x[i + stride];
        x[i] = a + b;
        x[i + stride] = a - b;
      }
    }
    for (std::int64_t c = 0; c < channels; ++c) x[c] *= factor;
  }
}

}  // namespace hadal::ops::reference
