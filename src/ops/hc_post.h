#pragma once

#include <cstdint>
#include <string_view>

#include "ops/backend.h"
#include "tensor/tensor.h"

namespace hadal::ops {

struct HcPost {
  static constexpr std::string_view name = "hc_post";
  struct Args {
    TensorView sublayer_output;  // [T, D] f32 | f64
    TensorView post;             // [T, n] like streams
    TensorView comb;             // [T, n, n] like streams
    TensorView streams;          // [T, n, D] f32 | f64, changed in place
  };
};

/// streams'[k] = post_k sublayer_output + sum_j comb[j][k] streams[j] (comb is used transposed; j ascending).
/// Errors: kInvalidArgument when shapes or types differ. Source: spec/model.md 2.1; official Block.hc_post.
[[nodiscard]] Status hc_post(Stream& stream, const HcPost::Args& args);

struct HcPostBackward {
  static constexpr std::string_view name = "hc_post_backward";
  struct Args {
    TensorView sublayer_output;    // [T, D] f32 | f64
    TensorView post;               // [T, n] like streams
    TensorView comb;               // [T, n, n] like streams
    TensorView streams;            // [T, n, D] f32 | f64: before hc_post
    TensorView d_streams_out;      // [T, n, D] like streams: gradient at the streams after hc_post
    TensorView d_sublayer_output;  // [T, D] like streams: out
    TensorView d_post;             // [T, n] like streams: out
    TensorView d_comb;             // [T, n, n] like streams: out
    TensorView d_streams;          // [T, n, D] like streams: out; may alias d_streams_out
  };
};

/// With G = d_streams_out: d_sublayer_output = sum_k post_k G[k]; d_post_k = G[k] . sublayer_output; d_comb[j][k] =
/// streams[j] . G[k]; d_streams[j] = sum_k comb[j][k] G[k], the path through hc_post alone.
/// Errors: kInvalidArgument when shapes or types differ. Source: spec/training.md 1.7.
[[nodiscard]] Status hc_post_backward(Stream& stream, const HcPostBackward::Args& args);

}  // namespace hadal::ops
