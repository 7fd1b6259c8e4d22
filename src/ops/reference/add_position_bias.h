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

}  // namespace hadal::ops::reference
