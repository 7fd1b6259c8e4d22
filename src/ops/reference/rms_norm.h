#pragma once

#include <cmath>

#include "ops/reference/elements.h"
#include "ops/reference/scratch.h"
#include "ops/rms_norm.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const RmsNorm::Args& args) { return any_f64({args.input.type(), args.out.type()}); }

template <class T>
void rms_norm(const RmsNorm::Args& args, Scratch) {
  const std::int64_t channels = args.input.extent(1);
  for (std::int64_t row = 0; row < args.input.extent(0); ++row) {
    const std::int64_t in = offset_of(args.input, row);
    const std::int64_t out = offset_of(args.out, row);
    double squares = 0;
    for (std::int64_t c = 0; c < channels; ++c) {
      const auto x = load<double>(args.input, in + c);
      squares += x * x;
    }
    const T factor = static_cast<T>(1 / std::sqrt(squares / static_cast<double>(channels) + args.eps));
    for (std::int64_t c = 0; c < channels; ++c) {
      const T normed = load<T>(args.input, in + c) * factor;
      store(args.out, out + c, args.weight.codes.absent() ? normed : load<T>(args.weight.codes, c) * normed);
    }
  }
}

}  // namespace hadal::ops::reference
