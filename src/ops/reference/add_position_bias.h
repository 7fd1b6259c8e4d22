#pragma once

#include "ops/add_position_bias.h"
#include "ops/reference/elements.h"
#include "ops/reference/scratch.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const AddPositionBias::Args& args) { return any_f64({args.x.type()}); }

template <class T>
void add_position_bias(const AddPositionBias::Args& args, Scratch) {
  const TensorView& bias = args.bias.codes;
  for (std::int64_t row = 0; row < args.x.extent(0); ++row) {
    const std::int64_t x = offset_of(args.x, row);
    const std::int64_t b = offset_of(bias, args.positions.as<std::int64_t>()[row] % bias.extent(0));
    for (std::int64_t c = 0; c < args.x.extent(1); ++c) {
      store(args.x, x + c, load<T>(args.x, x + c) + load<T>(bias, b + c));
    }
  }
}

[[nodiscard]] inline bool uses_f64(const AddPositionBiasBackward::Args& args) { return any_f64({args.d_x.type()}); }

[[nodiscard]] inline std::int64_t scratch_bytes(const AddPositionBiasBackward::Args& args) {
  return padded_bytes<double>(args.d_bias.elements());
}

/// Sums in double, rounded once to d_bias: the same for float and double.
template <class T>
void add_position_bias_backward(const AddPositionBiasBackward::Args& args, Scratch scratch) {
  const std::int64_t channels = args.d_x.extent(1);
  double* sums = scratch.zeros<double>(args.d_bias.elements());
  for (std::int64_t row = 0; row < args.d_x.extent(0); ++row) {
    const std::int64_t phase = args.positions.as<std::int64_t>()[row] % args.d_bias.extent(0);
    for (std::int64_t c = 0; c < channels; ++c) {
      sums[phase * channels + c] += load<double>(args.d_x, offset_of(args.d_x, row) + c);
    }
  }
  add_row(sums, args.d_bias.elements(), args.d_bias, 0);
}

}  // namespace hadal::ops::reference
