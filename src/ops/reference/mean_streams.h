#pragma once

#include "ops/mean_streams.h"
#include "ops/reference/elements.h"
#include "ops/reference/scratch.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const MeanStreams::Args& args) { return any_f64({args.streams.type()}); }

template <class T>
void mean_streams(const MeanStreams::Args& args, Scratch) {
  const std::int64_t n = args.streams.extent(1);
  for (std::int64_t token = 0; token < args.streams.extent(0); ++token) {
    for (std::int64_t c = 0; c < args.streams.extent(2); ++c) {
      T sum = 0;
      for (std::int64_t i = 0; i < n; ++i) sum += load<T>(args.streams, offset_of(args.streams, token, i) + c);
      store(args.out, offset_of(args.out, token) + c, sum / static_cast<T>(n));
    }
  }
}

[[nodiscard]] inline bool uses_f64(const MeanStreamsBackward::Args& args) { return any_f64({args.d_streams.type()}); }

template <class T>
void mean_streams_backward(const MeanStreamsBackward::Args& args, Scratch) {
  const std::int64_t n = args.d_streams.extent(1);
  for (std::int64_t token = 0; token < args.d_streams.extent(0); ++token) {
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t stream = offset_of(args.d_streams, token, i);
      for (std::int64_t c = 0; c < args.d_streams.extent(2); ++c) {
        const T part = load<T>(args.d_out, offset_of(args.d_out, token) + c) / static_cast<T>(n);
        store(args.d_streams, stream + c, load<T>(args.d_streams, stream + c) + part);
      }
    }
  }
}

}  // namespace hadal::ops::reference
