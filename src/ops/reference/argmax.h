#pragma once

#include <cmath>

#include "ops/argmax.h"
#include "ops/reference/elements.h"
#include "ops/reference/scratch.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const Argmax::Args& args) { return any_f64({args.logits.type()}); }

template <class T>
void argmax(const Argmax::Args& args, Scratch) {
  for (std::int64_t row = 0; row < args.logits.extent(0); ++row) {
    const std::int64_t logits = offset_of(args.logits, row);
    std::int64_t best = 0;
    T best_value = load<T>(args.logits, logits);
    for (std::int64_t id = 1; id < args.logits.extent(1); ++id) {
      const T value = load<T>(args.logits, logits + id);
      if (value > best_value || (std::isnan(best_value) && !std::isnan(value))) {
        best = id;
        best_value = value;
      }
    }
    args.out.as<std::int64_t>()[row] = best;
  }
}

}  // namespace hadal::ops::reference
