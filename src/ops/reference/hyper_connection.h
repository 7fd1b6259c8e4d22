#pragma once

#include <cmath>

#include "ops/reference/dots.h"
#include "ops/reference/scratch.h"
#include "ops/reference/weight_rows.h"

namespace hadal::ops::reference {

/// More residual streams than any release has; the mixing coefficients of a token live on the stack.
inline constexpr std::int64_t kMaxStreams = 8;

/// All rows of a small f32 weight as T, [rows, columns].
template <class T>
void decode_all(const Weight& weight, T* out) {
  for (std::int64_t row = 0; row < weight.rows(); ++row) decode_row(weight, row, out + row * weight.columns());
}

template <class T>
[[nodiscard]] T sigmoid(T x) {
  return 1 / (1 + std::exp(-x));
}

/// mixes[i] = (fn_i . flat) / rms(flat), the factor applied after the product; one statistic over all n D values.
template <class T>
void mix(const T* flat, const T* fn, std::int64_t length, std::int64_t outputs, double norm_eps, T* mixes) {
  double squares = 0;
  for (std::int64_t i = 0; i < length; ++i) squares += static_cast<double>(flat[i]) * static_cast<double>(flat[i]);
  const T factor = static_cast<T>(1 / std::sqrt(squares / static_cast<double>(length) + norm_eps));
  dots<T>(
      flat, length, outputs, [fn, length](std::int64_t i) { return fn + i * length; },
      [mixes, factor](std::int64_t i, T product) { mixes[i] = product * factor; });
}

/// out[c] = sum_i pre[i] streams[i][c], i ascending.
template <class T>
void weighted_sum(const T* flat, const T* pre, std::int64_t streams, const TensorView& out, std::int64_t offset) {
  const std::int64_t channels = out.extent(out.rank() - 1);
  for (std::int64_t c = 0; c < channels; ++c) {
    T sum = 0;
    for (std::int64_t i = 0; i < streams; ++i) sum += pre[i] * flat[i * channels + c];
    store(out, offset + c, sum);
  }
}

/// The n streams of one token, stream-major, as T.
template <class T>
void load_streams(const TensorView& streams, std::int64_t token, T* flat) {
  for (std::int64_t i = 0; i < streams.extent(1); ++i) {
    load_row(streams, offset_of(streams, token, i), streams.extent(2), flat + i * streams.extent(2));
  }
}

}  // namespace hadal::ops::reference
