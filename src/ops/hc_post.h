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

}  // namespace hadal::ops
