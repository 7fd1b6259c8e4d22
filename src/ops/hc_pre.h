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

struct HcPreBackward {
  static constexpr std::string_view name = "hc_pre_backward";
  struct Args {
    TensorView streams;  // [T, n, D] f32 | f64: what the forward operator read
    Weight fn;           // [(2 + n) n, n D] f32
    Weight base;         // [(2 + n) n] f32
    Weight scale;        // [3] f32
    TensorView d_input;  // [T, D] like streams: gradient at the sub-layer's input
    TensorView d_post;   // [T, n] like streams
    TensorView d_comb;   // [T, n, n] like streams
    double norm_eps;
    double hc_eps;
    std::int64_t sinkhorn_iterations;
    TensorView d_streams;     // [T, n, D] like streams, added to: it holds hc_post_backward's part
    TensorView d_fn = {};     // [(2 + n) n, n D] like streams, added to; absent: not wanted
    TensorView d_base = {};   // [(2 + n) n] like streams, added to; absent: not wanted
    TensorView d_scale = {};  // [3] like streams, added to; absent: not wanted
  };
};

/// Gradient of hc_pre through input = sum_i pre_i streams_i and through the mixing coefficients, which are recomputed
/// with every Sinkhorn iteration. With z = m scale + base and m = s fn . flat, s = 1 / rms(flat): d_base = sum of dz,
/// d_scale = sum of dz m by group, dm = dz scale, d_fn = sum of s dm flat^T, d_streams += pre d_input + fn^T s dm -
/// flat s^2 (dm . m) / (n D). Errors: kInvalidArgument when shapes or types differ. Source: spec/training.md 1.7.
[[nodiscard]] Status hc_pre_backward(Stream& stream, const HcPreBackward::Args& args);

}  // namespace hadal::ops
