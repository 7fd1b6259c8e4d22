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
/// Returns the factor.
template <class T>
T mix(const T* flat, const T* fn, std::int64_t length, std::int64_t outputs, double norm_eps, T* mixes) {
  double squares = 0;
  for (std::int64_t i = 0; i < length; ++i) squares += static_cast<double>(flat[i]) * static_cast<double>(flat[i]);
  const T factor = static_cast<T>(1 / std::sqrt(squares / static_cast<double>(length) + norm_eps));
  dots<T>(
      flat, length, outputs, [fn, length](std::int64_t i) { return fn + i * length; },
      [mixes, factor](std::int64_t i, T product) { mixes[i] = product * factor; });
  return factor;
}

/// Which of the scales output i of n streams' mixes is multiplied by: pre, post or comb.
[[nodiscard]] constexpr std::int64_t scale_of_mix(std::int64_t i, std::int64_t n) { return i < 2 * n ? i / n : 2; }

/// Sums over tokens of the gradients of a site's constants.
struct MixSums {
  double* fn;  // [outputs, length]
  double* base;
  double* scale;
};

/// One token's part of the gradients behind z_i = mixes_i scale + base_i, from dz: added to the sums, and to
/// d_flat [length].
template <class T>
void mix_backward(const T* flat, const T* fn, const T* mixes, const T* dz, const Weight& scale, T factor,
                  std::int64_t length, std::int64_t outputs, std::int64_t n, const MixSums& sums, T* d_flat) {
  T d_products[(2 + kMaxStreams) * kMaxStreams];
  double projection = 0;
  for (std::int64_t i = 0; i < outputs; ++i) {
    const std::int64_t group = scale_of_mix(i, n);
    sums.base[i] += static_cast<double>(dz[i]);
    sums.scale[group] += static_cast<double>(dz[i]) * static_cast<double>(mixes[i]);
    const T d_mix = dz[i] * load<T>(scale.codes, group);
    projection += static_cast<double>(d_mix) * static_cast<double>(mixes[i]);
    d_products[i] = factor * d_mix;
  }
  const T radial = factor * factor * static_cast<T>(projection / static_cast<double>(length));
  for (std::int64_t c = 0; c < length; ++c) {
    double sum = 0;
    for (std::int64_t i = 0; i < outputs; ++i) {
      sum += static_cast<double>(fn[i * length + c]) * static_cast<double>(d_products[i]);
      sums.fn[i * length + c] += static_cast<double>(d_products[i]) * static_cast<double>(flat[c]);
    }
    d_flat[c] += static_cast<T>(sum) - flat[c] * radial;
  }
}

/// d_flat[i] = pre_i d_out for every stream, and dz_i = (streams_i . d_out) sigmoid'(z_i), where pre is the sigmoid
/// (plus a constant).
template <class T>
void weighted_sum_backward(const T* flat, const T* sigmoids, T eps, const T* d_out, std::int64_t n,
                           std::int64_t channels, T* dz, T* d_flat) {
  for (std::int64_t i = 0; i < n; ++i) {
    double sum = 0;
    for (std::int64_t c = 0; c < channels; ++c) {
      sum += static_cast<double>(flat[i * channels + c]) * static_cast<double>(d_out[c]);
      d_flat[i * channels + c] = (sigmoids[i] + eps) * d_out[c];
    }
    dz[i] = static_cast<T>(sum) * sigmoids[i] * (1 - sigmoids[i]);
  }
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
