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

struct MeanStreamsBackward {
  static constexpr std::string_view name = "mean_streams_backward";
  struct Args {
    TensorView d_out;      // [T, D] f32 | f64; rows may be strided
    TensorView d_streams;  // [T, n, D] like d_out, added to
  };
};

/// d_streams[i] += d_out / n for every stream. Errors: kInvalidArgument when shapes or types differ.
[[nodiscard]] Status mean_streams_backward(Stream& stream, const MeanStreamsBackward::Args& args);

}  // namespace hadal::ops
