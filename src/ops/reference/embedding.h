#pragma once

#include "ops/embedding.h"
#include "ops/reference/elements.h"
#include "ops/reference/scratch.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const Embedding::Args& args) { return any_f64({args.out.type()}); }

template <class T>
void embedding(const Embedding::Args& args, Scratch) {
  const TensorView& table = args.table.codes;
  for (std::int64_t token = 0; token < args.tokens.extent(0); ++token) {
    const std::int64_t row = offset_of(table, args.tokens.as<std::int64_t>()[token]);
    for (std::int64_t stream = 0; stream < args.out.extent(1); ++stream) {
      const std::int64_t out = offset_of(args.out, token, stream);
      for (std::int64_t c = 0; c < args.out.extent(2); ++c) store(args.out, out + c, load<T>(table, row + c));
    }
  }
}

}  // namespace hadal::ops::reference
