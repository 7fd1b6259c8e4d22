#pragma once

#include <cstdint>
#include <string_view>

#include "ops/backend.h"
#include "tensor/tensor.h"

namespace hadal::ops {

struct Embedding {
  static constexpr std::string_view name = "embedding";
  struct Args {
    TensorView tokens;  // [T] i64, each in [0, V)
    Weight table;       // [V, D] bf16 | f32
    TensorView out;     // [T, streams, D] f32 | f64 | bf16
  };
};

/// out[t][i] = table[tokens[t]] for every stream i. Exact, but for a bf16 `out` of an f32 table (rounded to nearest
/// even). Errors: kInvalidArgument when shapes or types differ. A token outside the table is the caller's bug: hosts
/// check ids before they upload them. Source: spec/model.md 2 (X = repeat(embed[token], n streams)).
[[nodiscard]] Status embedding(Stream& stream, const Embedding::Args& args);

struct EmbeddingBackward {
  static constexpr std::string_view name = "embedding_backward";
  struct Args {
    TensorView tokens;   // [T] i64, each in [0, V)
    TensorView d_out;    // [T, streams, D] f32 | f64
    TensorView d_table;  // [V, D] f32 | f64, added to
  };
};

/// d_table[tokens[t]] += d_out[t][i] for tokens and then streams ascending; rows that no token names stay as they are.
/// Errors: kInvalidArgument when shapes or types differ. Source: spec/training.md 1.9.
[[nodiscard]] Status embedding_backward(Stream& stream, const EmbeddingBackward::Args& args);

}  // namespace hadal::ops
