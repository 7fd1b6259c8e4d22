#pragma once

#include <cstdint>
#include <string_view>

#include "ops/backend.h"
#include "tensor/tensor.h"

namespace hadal::ops {

struct MeanStreams {
  static constexpr std::string_view name = "mean_streams";
  struct Args {
    TensorView streams;  // [T, n, D] f32 | f64
    TensorView out;      // [T, D] like streams; rows may be strided
  };
};

/// out = (1/n) sum_i streams[i], i ascending, then divided by n. Errors: kInvalidArgument when shapes or types differ.
/// Source: spec/dspark.md 3.1 (target_hidden).
[[nodiscard]] Status mean_streams(Stream& stream, const MeanStreams::Args& args);

}  // namespace hadal::ops
