#pragma once

#include "ops/add.h"
#include "ops/reference/elements.h"
#include "ops/reference/scratch.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const Add::Args& args) { return any_f64({args.a.type(), args.b.type()}); }

template <class T>
void add(const Add::Args& args, Scratch) {
  for (std::int64_t row = 0; row < args.a.extent(0); ++row) {
    const std::int64_t a = offset_of(args.a, row);
    const std::int64_t b = offset_of(args.b, row / args.repeat);
    const std::int64_t out = offset_of(args.out, row);
    for (std::int64_t c = 0; c < args.a.extent(1); ++c) {
      store(args.out, out + c, load<T>(args.a, a + c) + load<T>(args.b, b + c));
    }
  }
}

}  // namespace hadal::ops::reference
