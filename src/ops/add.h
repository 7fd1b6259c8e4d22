#pragma once

#include <cstdint>
#include <string_view>

#include "ops/backend.h"
#include "tensor/tensor.h"

namespace hadal::ops {

struct Add {
  static constexpr std::string_view name = "add";
  struct Args {
    TensorView a;         // [rows, C] f32 | f64; rows may be strided
    TensorView b;         // [rows / repeat, C] like a, each row used `repeat` times in a row; rows may be strided
    std::int64_t repeat;  // 1: b has as many rows as a
    TensorView out;       // like a; rows may be strided; may alias a
  };
};

/// out[r] = a[r] + b[r / repeat]. Errors: kInvalidArgument when shapes or types differ.
[[nodiscard]] Status add(Stream& stream, const Add::Args& args);

}  // namespace hadal::ops
