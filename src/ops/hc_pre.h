#pragma once

#include <cstdint>
#include <string_view>

#include "ops/backend.h"
#include "tensor/tensor.h"

namespace hadal::ops {

struct HcPre {
  static constexpr std::string_view name = "hc_pre";
  struct Args {
    TensorView streams;  // [T, n, D] f32 | f64
    Weight fn;           // [(2 + n) n, n D] f32
    Weight base;         // [(2 + n) n] f32
    Weight scale;        // [3] f32
    TensorView input;    // [T, D] f32 | f64: out, the sub-layer's input
    TensorView post;     // [T, n] f32 | f64: out
    TensorView comb;     // [T, n, n] f32 | f64: out, [j][k]
    double norm_eps;
    double hc_eps;
    std::int64_t sinkhorn_iterations;
  };
};

/// Manifold-constrained hyper-connection, n streams -> 1, with the mixing coefficients for hc_post: m = (fn . flat) /
/// rms(flat), pre = sigmoid(m scale0 + base) + hc_eps, post = 2 sigmoid(...), comb = Sinkhorn(softmax(...)); input =
/// sum_i pre_i streams_i. All in the streams' type. n is at most 8. Errors: kInvalidArgument when shapes or types
/// differ. Source: spec/model.md 2.1; official Block.hc_pre, hc_split_sinkhorn_kernel.
[[nodiscard]] Status hc_pre(Stream& stream, const HcPre::Args& args);

}  // namespace hadal::ops
