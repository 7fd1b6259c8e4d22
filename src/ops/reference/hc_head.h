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

}  // namespace hadal::ops::reference
