#pragma once

#include "ops/hc_post.h"
#include "ops/reference/elements.h"
#include "ops/reference/hyper_connection.h"
#include "ops/reference/scratch.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const HcPost::Args& args) {
  return any_f64({args.sublayer_output.type(), args.streams.type()});
}

template <class T>
void hc_post(const HcPost::Args& args, Scratch) {
  const std::int64_t n = args.streams.extent(1);
  for (std::int64_t token = 0; token < args.streams.extent(0); ++token) {
    const std::int64_t sublayer = offset_of(args.sublayer_output, token);
    for (std::int64_t c = 0; c < args.streams.extent(2); ++c) {
      T before[kMaxStreams];
      for (std::int64_t j = 0; j < n; ++j) before[j] = load<T>(args.streams, offset_of(args.streams, token, j) + c);
      for (std::int64_t k = 0; k < n; ++k) {
        T sum = load<T>(args.post, offset_of(args.post, token) + k) * load<T>(args.sublayer_output, sublayer + c);
        for (std::int64_t j = 0; j < n; ++j) sum += load<T>(args.comb, offset_of(args.comb, token, j) + k) * before[j];
        store(args.streams, offset_of(args.streams, token, k) + c, sum);
      }
    }
  }
}

[[nodiscard]] inline bool uses_f64(const HcPostBackward::Args& args) { return any_f64({args.streams.type()}); }

template <class T>
void hc_post_backward(const HcPostBackward::Args& args, Scratch) {
  const std::int64_t n = args.streams.extent(1);
  for (std::int64_t token = 0; token < args.streams.extent(0); ++token) {
    const std::int64_t sublayer = offset_of(args.sublayer_output, token);
    double d_post[kMaxStreams] = {};
    double d_comb[kMaxStreams * kMaxStreams] = {};
    for (std::int64_t c = 0; c < args.streams.extent(2); ++c) {
      const T output = load<T>(args.sublayer_output, sublayer + c);
      T d_out[kMaxStreams];
      T d_output = 0;
      for (std::int64_t k = 0; k < n; ++k) {
        d_out[k] = load<T>(args.d_streams_out, offset_of(args.d_streams_out, token, k) + c);
        d_output += load<T>(args.post, offset_of(args.post, token) + k) * d_out[k];
        d_post[k] += static_cast<double>(d_out[k]) * static_cast<double>(output);
      }
      store(args.d_sublayer_output, offset_of(args.d_sublayer_output, token) + c, d_output);
      for (std::int64_t j = 0; j < n; ++j) {
        const T before = load<T>(args.streams, offset_of(args.streams, token, j) + c);
        T sum = 0;
        for (std::int64_t k = 0; k < n; ++k) {
          d_comb[j * n + k] += static_cast<double>(before) * static_cast<double>(d_out[k]);
          sum += load<T>(args.comb, offset_of(args.comb, token, j) + k) * d_out[k];
        }
        store(args.d_streams, offset_of(args.d_streams, token, j) + c, sum);
      }
    }
    store_row(d_post, n, args.d_post, offset_of(args.d_post, token));
    store_row(d_comb, n * n, args.d_comb, offset_of(args.d_comb, token));
  }
}

}  // namespace hadal::ops::reference
