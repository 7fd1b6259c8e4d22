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

}  // namespace hadal::ops::reference
