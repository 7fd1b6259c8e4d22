#pragma once

#include "ops/hc_head.h"
#include "ops/reference/hyper_connection.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const HcHead::Args& args) { return any_f64({args.streams.type(), args.out.type()}); }

[[nodiscard]] inline std::int64_t scratch_bytes(const HcHead::Args& args) {
  return padded_bytes<double>(args.fn.rows() * args.fn.columns()) + padded_bytes<double>(args.fn.columns());
}

template <class T>
void hc_head(const HcHead::Args& args, Scratch scratch) {
  const std::int64_t n = args.streams.extent(1);
  const std::int64_t length = args.fn.columns();
  T* fn = scratch.take<T>(n * length);
  T* flat = scratch.take<T>(length);
  decode_all(args.fn, fn);
  for (std::int64_t token = 0; token < args.streams.extent(0); ++token) {
    load_streams(args.streams, token, flat);
    T pre[kMaxStreams];
    mix(flat, fn, length, n, args.norm_eps, pre);
    for (std::int64_t i = 0; i < n; ++i) {
      pre[i] =
          sigmoid(pre[i] * load<T>(args.scale.codes, 0) + load<T>(args.base.codes, i)) + static_cast<T>(args.hc_eps);
    }
    weighted_sum(flat, pre, n, args.out, offset_of(args.out, token));
  }
}

[[nodiscard]] inline bool uses_f64(const HcHeadBackward::Args& args) { return any_f64({args.streams.type()}); }

[[nodiscard]] inline std::int64_t scratch_bytes(const HcHeadBackward::Args& args) {
  const std::int64_t n = args.fn.rows();
  const std::int64_t length = args.fn.columns();
  return 2 * padded_bytes<double>(n * length) + padded_bytes<double>(n) + padded_bytes<double>(1) +
         2 * padded_bytes<double>(length) + padded_bytes<double>(args.streams.extent(2));
}

template <class T>
void hc_head_backward(const HcHeadBackward::Args& args, Scratch scratch) {
  const std::int64_t n = args.streams.extent(1);
  const std::int64_t channels = args.streams.extent(2);
  const std::int64_t length = args.fn.columns();
  T* fn = scratch.take<T>(n * length);
  const MixSums sums{
      .fn = scratch.zeros<double>(n * length), .base = scratch.zeros<double>(n), .scale = scratch.zeros<double>(1)};
  T* flat = scratch.take<T>(length);
  T* d_flat = scratch.take<T>(length);
  T* d_out = scratch.take<T>(channels);
  decode_all(args.fn, fn);
  for (std::int64_t token = 0; token < args.streams.extent(0); ++token) {
    load_streams(args.streams, token, flat);
    load_row(args.d_out, offset_of(args.d_out, token), channels, d_out);
    T m[kMaxStreams];
    T sigmoids[kMaxStreams];
    T dz[kMaxStreams];
    const T factor = mix(flat, fn, length, n, args.norm_eps, m);
    for (std::int64_t i = 0; i < n; ++i) {
      sigmoids[i] = sigmoid(m[i] * load<T>(args.scale.codes, 0) + load<T>(args.base.codes, i));
    }
    weighted_sum_backward(flat, sigmoids, static_cast<T>(args.hc_eps), d_out, n, channels, dz, d_flat);
    mix_backward(flat, fn, m, dz, args.scale, factor, length, n, n, sums, d_flat);
    store_row(d_flat, length, args.d_streams, offset_of(args.d_streams, token));
  }
  add_row(sums.fn, n * length, args.d_fn, 0);
  add_row(sums.base, n, args.d_base, 0);
  add_row(sums.scale, 1, args.d_scale, 0);
}

}  // namespace hadal::ops::reference
