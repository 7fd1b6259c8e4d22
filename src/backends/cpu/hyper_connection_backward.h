#pragma once

#include <cstdint>

#include "ops/backend.h"
#include "ops/weight.h"
#include "tensor/tensor.h"

namespace hadal::cpu {

/// What the gradients of hc_pre and hc_head share: out = sum_i pre_i streams_i, and the constants behind the mixing
/// coefficients. N outputs: (2 + n) n, or n for the head.
struct MixSite {
  TensorView streams;      // [T, n, D]
  ops::Weight fn;          // [N, n D]
  ops::Weight base;        // [N]
  ops::Weight scale;       // [3], or [1] for the head
  TensorView d_out;        // [T, D]
  TensorView d_post = {};  // [T, n]; absent: the head
  TensorView d_comb = {};  // [T, n, n]; absent: the head
  double norm_eps;
  double hc_eps;
  std::int64_t iterations = 1;       // of Sinkhorn's
  bool add_streams;                  // whether d_streams is added to
  TensorView d_streams;              // [T, n, D]
  TensorView d_fn, d_base, d_scale;  // added to; absent: not wanted
};

[[nodiscard]] std::int64_t mix_backward_scratch(const ops::Backend& backend, const MixSite& site);
void mix_backward(ops::Stream& stream, const MixSite& site);

}  // namespace hadal::cpu
