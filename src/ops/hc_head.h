#pragma once

#include <cstdint>
#include <string_view>

#include "ops/backend.h"
#include "tensor/tensor.h"

namespace hadal::ops {

struct HcHead {
  static constexpr std::string_view name = "hc_head";
  struct Args {
    TensorView streams;  // [T, n, D] f32 | f64
    Weight fn;           // [n, n D] f32
    Weight base;         // [n] f32
    Weight scale;        // [1] f32
    TensorView out;      // [T, D] f32 | f64
    double norm_eps;
    double hc_eps;
  };
};

/// out = sum_i (sigmoid(m_i scale + base_i) + hc_eps) streams_i with m as in hc_pre; no Sinkhorn.
/// Errors: kInvalidArgument when shapes or types differ. Source: spec/model.md 2.1, hc_head.
[[nodiscard]] Status hc_head(Stream& stream, const HcHead::Args& args);

struct HcHeadBackward {
  static constexpr std::string_view name = "hc_head_backward";
  struct Args {
    TensorView streams;  // [T, n, D] f32 | f64: what the forward operator read
    Weight fn;           // [n, n D] f32
    Weight base;         // [n] f32
    Weight scale;        // [1] f32
    TensorView d_out;    // [T, D] like streams
    double norm_eps;
    double hc_eps;
    TensorView d_streams;     // [T, n, D] like streams: out
    TensorView d_fn = {};     // [n, n D] like streams, added to; absent: not wanted
    TensorView d_base = {};   // [n] like streams, added to; absent: not wanted
    TensorView d_scale = {};  // [1] like streams, added to; absent: not wanted
  };
};

/// Gradient of hc_head: as in hc_pre_backward, with one scale and without post and comb.
/// Errors: kInvalidArgument when shapes or types differ. Source: spec/training.md 1.7.
[[nodiscard]] Status hc_head_backward(Stream& stream, const HcHeadBackward::Args& args);

}  // namespace hadal::ops
