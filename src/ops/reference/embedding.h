#pragma once

#include <algorithm>

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

[[nodiscard]] inline bool uses_f64(const EmbeddingBackward::Args& args) { return any_f64({args.d_out.type()}); }

[[nodiscard]] inline std::int64_t scratch_bytes(const EmbeddingBackward::Args& args) {
  return padded_bytes<double>(args.d_out.extent(2));
}

template <class T>
void embedding_backward(const EmbeddingBackward::Args& args, Scratch scratch) {
  const auto* ids = args.tokens.as<std::int64_t>();
  const std::int64_t count = args.tokens.extent(0);
  const std::int64_t channels = args.d_out.extent(2);
  auto* sum = scratch.take<double>(channels);
  for (std::int64_t first = 0; first < count; ++first) {
    if (std::find(ids, ids + first, ids[first]) != ids + first) continue;  // added with an earlier token
    std::fill_n(sum, channels, 0.0);
    for (std::int64_t token = first; token < count; ++token) {
      if (ids[token] != ids[first]) continue;
      for (std::int64_t stream = 0; stream < args.d_out.extent(1); ++stream) {
        const std::int64_t row = offset_of(args.d_out, token, stream);
        for (std::int64_t c = 0; c < channels; ++c) sum[c] += load<double>(args.d_out, row + c);
      }
    }
    add_row(sum, channels, args.d_table, offset_of(args.d_table, ids[first]));
  }
}

}  // namespace hadal::ops::reference
