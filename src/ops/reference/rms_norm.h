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

[[nodiscard]] inline bool uses_f64(const RmsNormBackward::Args& args) { return any_f64({args.input.type()}); }

[[nodiscard]] inline std::int64_t scratch_bytes(const RmsNormBackward::Args& args) {
  return 3 * padded_bytes<double>(args.input.extent(1));
}

template <class T>
void rms_norm_backward(const RmsNormBackward::Args& args, Scratch scratch) {
  const std::int64_t channels = args.input.extent(1);
  double* d_weight = scratch.zeros<double>(channels);
  T* u = scratch.take<T>(channels);
  T* d_out = scratch.take<T>(channels);
  for (std::int64_t row = 0; row < args.input.extent(0); ++row) {
    load_row(args.input, offset_of(args.input, row), channels, u);
    load_row(args.d_out, offset_of(args.d_out, row), channels, d_out);
    double squares = 0;
    for (std::int64_t c = 0; c < channels; ++c) squares += static_cast<double>(u[c]) * static_cast<double>(u[c]);
    const T factor = static_cast<T>(1 / std::sqrt(squares / static_cast<double>(channels) + args.eps));
    double sum = 0;
    for (std::int64_t c = 0; c < channels; ++c) {
      u[c] *= factor;
      d_weight[c] += static_cast<double>(d_out[c]) * static_cast<double>(u[c]);
      if (!args.weight.codes.absent()) d_out[c] *= load<T>(args.weight.codes, c);
      sum += static_cast<double>(d_out[c]) * static_cast<double>(u[c]);
    }
    const T mean = static_cast<T>(sum / static_cast<double>(channels));
    const std::int64_t out = offset_of(args.d_input, row);
    for (std::int64_t c = 0; c < channels; ++c) {
      const T before = args.accumulate_input ? load<T>(args.d_input, out + c) : T{0};
      store(args.d_input, out + c, before + factor * (d_out[c] - u[c] * mean));
    }
  }
  add_row(d_weight, channels, args.d_weight, 0);
}

}  // namespace hadal::ops::reference
