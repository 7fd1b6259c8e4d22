#pragma once

#include <cmath>

#include "ops/reference/elements.h"
#include "ops/reference/scratch.h"
#include "ops/rope.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const Rope::Args& args) { return any_f64({args.x.type()}); }

template <class T>
void rope(const Rope::Args& args, Scratch) {
  const std::int64_t pairs = args.frequencies.extent(0);
  const std::int64_t first = args.x.extent(2) - 2 * pairs;
  for (std::int64_t row = 0; row < args.x.extent(0); ++row) {
    const auto position = static_cast<float>(args.positions.as<std::int64_t>()[row]);
    for (std::int64_t pair = 0; pair < pairs; ++pair) {
      // The product is rounded to float32: that rounding is part of the model.
      const float angle = position * load<float>(args.frequencies, pair);
      const T cosine = static_cast<T>(std::cos(static_cast<double>(angle)));
      const T sine = static_cast<T>(std::sin(static_cast<double>(args.inverse ? -angle : angle)));
      for (std::int64_t head = 0; head < args.x.extent(1); ++head) {
        const std::int64_t at = offset_of(args.x, row, head) + first + 2 * pair;
        const T a = load<T>(args.x, at);
        const T b = load<T>(args.x, at + 1);
        store(args.x, at, a * cosine - b * sine);
        store(args.x, at + 1, a * sine + b * cosine);
      }
    }
  }
}

}  // namespace hadal::ops::reference
