#pragma once

#include <algorithm>
#include <cmath>

#include "ops/hc_pre.h"
#include "ops/reference/hyper_connection.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const HcPreBackward::Args& args) { return any_f64({args.streams.type()}); }

/// Matrices that sinkhorn_backward() keeps: the softmax, and what every half step made.
[[nodiscard]] constexpr std::int64_t sinkhorn_stages(std::int64_t iterations) { return 2 * iterations + 1; }

[[nodiscard]] inline std::int64_t scratch_bytes(const HcPreBackward::Args& args) {
  const std::int64_t outputs = args.fn.rows();
  const std::int64_t length = args.fn.columns();
  const std::int64_t n = args.streams.extent(1);
  return 2 * padded_bytes<double>(outputs * length) + padded_bytes<double>(outputs) + padded_bytes<double>(3) +
         2 * padded_bytes<double>(length) + padded_bytes<double>(args.streams.extent(2)) +
         padded_bytes<double>(sinkhorn_stages(args.sinkhorn_iterations) * n * n);
}

/// 1 / (sum of a line of `matrix`, row or column, + eps).
template <class T>
[[nodiscard]] T line_factor(const T* matrix, std::int64_t n, std::int64_t line, bool column, T eps) {
  T sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += column ? matrix[i * n + line] : matrix[line * n + i];
  return 1 / (sum + eps);
}

/// Gradient of sinkhorn() (see hc_pre): `d` [n, n] comes as the gradient at its result and leaves as the one at its
/// input `logits`. `stages` holds sinkhorn_stages() matrices: softmax, softmax + eps, then each half step's result.
template <class T>
void sinkhorn_backward(const T* logits, std::int64_t n, T eps, std::int64_t iterations, T* stages, T* d) {
  const std::int64_t size = n * n;
  for (std::int64_t j = 0; j < n; ++j) {
    const T maximum = *std::max_element(logits + j * n, logits + (j + 1) * n);
    T sum = 0;
    for (std::int64_t k = 0; k < n; ++k) sum += std::exp(logits[j * n + k] - maximum);
    for (std::int64_t k = 0; k < n; ++k) {
      stages[j * n + k] = std::exp(logits[j * n + k] - maximum) / sum;
      stages[size + j * n + k] = stages[j * n + k] + eps;
    }
  }
  const std::int64_t last = sinkhorn_stages(iterations) - 1;
  const auto is_column_step = [](std::int64_t stage) { return stage % 2 == 0; };
  for (std::int64_t stage = 2; stage <= last; ++stage) {
    const bool column = is_column_step(stage);
    const T* before = stages + (stage - 1) * size;
    for (std::int64_t line = 0; line < n; ++line) {
      const T factor = line_factor(before, n, line, column, eps);
      for (std::int64_t i = 0; i < n; ++i) {
        const std::int64_t at = column ? i * n + line : line * n + i;
        stages[stage * size + at] = before[at] * factor;
      }
    }
  }
  for (std::int64_t stage = last; stage >= 2; --stage) {
    const bool column = is_column_step(stage);
    const T* after = stages + stage * size;
    for (std::int64_t line = 0; line < n; ++line) {
      const T factor = line_factor(after - size, n, line, column, eps);
      T inner = 0;
      for (std::int64_t i = 0; i < n; ++i) {
        const std::int64_t at = column ? i * n + line : line * n + i;
        inner += d[at] * after[at];
      }
      for (std::int64_t i = 0; i < n; ++i) {
        const std::int64_t at = column ? i * n + line : line * n + i;
        d[at] = (d[at] - inner) * factor;
      }
    }
  }
  for (std::int64_t j = 0; j < n; ++j) {
    T inner = 0;
    for (std::int64_t k = 0; k < n; ++k) inner += d[j * n + k] * stages[j * n + k];
    for (std::int64_t k = 0; k < n; ++k) d[j * n + k] = stages[j * n + k] * (d[j * n + k] - inner);
  }
}

template <class T>
void hc_pre_backward(const HcPreBackward::Args& args, Scratch scratch) {
  const std::int64_t n = args.streams.extent(1);
  const std::int64_t channels = args.streams.extent(2);
  const std::int64_t length = args.fn.columns();
  const std::int64_t outputs = args.fn.rows();
  T* fn = scratch.take<T>(outputs * length);
  const MixSums sums{.fn = scratch.zeros<double>(outputs * length),
                     .base = scratch.zeros<double>(outputs),
                     .scale = scratch.zeros<double>(3)};
  T* flat = scratch.take<T>(length);
  T* d_flat = scratch.take<T>(length);
  T* d_input = scratch.take<T>(channels);
  T* stages = scratch.take<T>(sinkhorn_stages(args.sinkhorn_iterations) * n * n);
  decode_all(args.fn, fn);
  const auto eps = static_cast<T>(args.hc_eps);
  for (std::int64_t token = 0; token < args.streams.extent(0); ++token) {
    load_streams(args.streams, token, flat);
    load_row(args.d_input, offset_of(args.d_input, token), channels, d_input);
    T m[(2 + kMaxStreams) * kMaxStreams];
    T z[(2 + kMaxStreams) * kMaxStreams];
    T dz[(2 + kMaxStreams) * kMaxStreams];
    const T factor = mix(flat, fn, length, outputs, args.norm_eps, m);
    for (std::int64_t i = 0; i < outputs; ++i) {
      z[i] = m[i] * load<T>(args.scale.codes, scale_of_mix(i, n)) + load<T>(args.base.codes, i);
    }
    load_row(args.d_comb, offset_of(args.d_comb, token), n * n, dz + 2 * n);
    sinkhorn_backward(z + 2 * n, n, eps, args.sinkhorn_iterations, stages, dz + 2 * n);
    for (std::int64_t i = 0; i < 2 * n; ++i) z[i] = sigmoid(z[i]);
    for (std::int64_t i = 0; i < n; ++i) {
      dz[n + i] = load<T>(args.d_post, offset_of(args.d_post, token) + i) * 2 * z[n + i] * (1 - z[n + i]);
    }
    weighted_sum_backward(flat, z, eps, d_input, n, channels, dz, d_flat);
    mix_backward(flat, fn, m, dz, args.scale, factor, length, outputs, n, sums, d_flat);
    const std::int64_t out = offset_of(args.d_streams, token);
    for (std::int64_t c = 0; c < length; ++c)
      store(args.d_streams, out + c, load<T>(args.d_streams, out + c) + d_flat[c]);
  }
  add_row(sums.fn, outputs * length, args.d_fn, 0);
  add_row(sums.base, outputs, args.d_base, 0);
  add_row(sums.scale, 3, args.d_scale, 0);
}

}  // namespace hadal::ops::reference
