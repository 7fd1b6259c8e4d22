#pragma once

#include <algorithm>
#include <cmath>

#include "ops/hc_pre.h"
#include "ops/reference/hyper_connection.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const HcPre::Args& args) {
  return any_f64({args.streams.type(), args.input.type(), args.post.type(), args.comb.type()});
}

[[nodiscard]] inline std::int64_t scratch_bytes(const HcPre::Args& args) {
  return padded_bytes<double>(args.fn.rows() * args.fn.columns()) + padded_bytes<double>(args.fn.columns());
}

/// comb [n, n], in place: softmax of each row, + eps, then column and row normalisations in turn, columns last.
/// `iterations` counts the first column normalisation.
template <class T>
void sinkhorn(T* comb, std::int64_t n, T eps, std::int64_t iterations) {
  const auto normalise_rows = [&] {
    for (std::int64_t j = 0; j < n; ++j) {
      T sum = 0;
      for (std::int64_t k = 0; k < n; ++k) sum += comb[j * n + k];
      for (std::int64_t k = 0; k < n; ++k) comb[j * n + k] /= sum + eps;
    }
  };
  const auto normalise_columns = [&] {
    for (std::int64_t k = 0; k < n; ++k) {
      T sum = 0;
      for (std::int64_t j = 0; j < n; ++j) sum += comb[j * n + k];
      for (std::int64_t j = 0; j < n; ++j) comb[j * n + k] /= sum + eps;
    }
  };
  for (std::int64_t j = 0; j < n; ++j) {
    T* row = comb + j * n;
    const T maximum = *std::max_element(row, row + n);
    T sum = 0;
    for (std::int64_t k = 0; k < n; ++k) {
      row[k] = std::exp(row[k] - maximum);
      sum += row[k];
    }
    for (std::int64_t k = 0; k < n; ++k) row[k] = row[k] / sum + eps;
  }
  normalise_columns();
  for (std::int64_t iteration = 1; iteration < iterations; ++iteration) {
    normalise_rows();
    normalise_columns();
  }
}

template <class T>
void hc_pre(const HcPre::Args& args, Scratch scratch) {
  const std::int64_t n = args.streams.extent(1);
  const std::int64_t length = args.fn.columns();
  const std::int64_t outputs = args.fn.rows();
  T* fn = scratch.take<T>(outputs * length);
  T* flat = scratch.take<T>(length);
  decode_all(args.fn, fn);
  const auto eps = static_cast<T>(args.hc_eps);
  for (std::int64_t token = 0; token < args.streams.extent(0); ++token) {
    load_streams(args.streams, token, flat);
    T m[(2 + kMaxStreams) * kMaxStreams];
    mix(flat, fn, length, outputs, args.norm_eps, m);
    T pre[kMaxStreams];
    T comb[kMaxStreams * kMaxStreams];
    for (std::int64_t i = 0; i < outputs; ++i) {
      m[i] = m[i] * load<T>(args.scale.codes, scale_of_mix(i, n)) + load<T>(args.base.codes, i);
    }
    for (std::int64_t i = 0; i < n; ++i) {
      pre[i] = sigmoid(m[i]) + eps;
      store(args.post, offset_of(args.post, token) + i, 2 * sigmoid(m[n + i]));
    }
    std::copy(m + 2 * n, m + outputs, comb);
    sinkhorn(comb, n, eps, args.sinkhorn_iterations);
    for (std::int64_t j = 0; j < n; ++j) store_row(comb + j * n, n, args.comb, offset_of(args.comb, token, j));
    weighted_sum(flat, pre, n, args.input, offset_of(args.input, token));
  }
}

}  // namespace hadal::ops::reference
