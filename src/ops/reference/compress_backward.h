#pragma once

#include <algorithm>

#include "ops/reference/compress.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const CompressBackward::Args& args) { return any_f64({args.value.type()}); }

[[nodiscard]] inline std::int64_t scratch_bytes(const CompressBackward::Args& args) {
  return padded_bytes<PoolSlot>(2 * args.ratio) + padded_bytes<double>(2 * args.ratio);
}

/// One channel of one block; gradients lie where their values do.
template <class T>
void pool_backward(const PoolSlot* slots, std::int64_t count, std::int64_t channel, T d_out, T* weights,
                   const TensorView& d_value, const TensorView& d_gate) {
  const T sum = softmax_of_slots(slots, count, channel, weights);
  T pooled = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    weights[i] /= sum;
    pooled += weights[i] * load<T>(*slots[i].value.view, slots[i].value.offset + channel);
  }
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t place = slots[i].value.offset + channel;
    const T value = load<T>(*slots[i].value.view, place);
    d_value.as<T>()[place] = weights[i] * d_out;
    d_gate.as<T>()[place] = weights[i] * d_out * (value - pooled);
  }
}

template <class T>
void compress_backward(const CompressBackward::Args& args, Scratch scratch) {
  auto* slots = scratch.take<PoolSlot>(2 * args.ratio);
  T* weights = scratch.take<T>(2 * args.ratio);
  std::fill_n(args.d_value.as<T>(), args.d_value.elements(), T{0});
  std::fill_n(args.d_gate.as<T>(), args.d_gate.elements(), T{0});
  // Every sequence begins in the step, so no slot lies in a ring.
  const Compress::Args forward{.value = args.value,
                               .gate = args.gate,
                               .value_ring = {},
                               .gate_ring = {},
                               .last_row = args.last_row,
                               .layout = args.layout,
                               .ratio = args.ratio,
                               .overlap = args.overlap,
                               .out = args.d_out};
  for (std::int64_t block = 0; block < args.last_row.extent(0); ++block) {
    const std::int64_t count = list_slots(forward, args.last_row.as<std::int32_t>()[block], slots);
    for (std::int64_t c = 0; c < args.d_out.extent(1); ++c) {
      pool_backward(slots, count, c, args.d_out.row<T>(block)[c], weights, args.d_value, args.d_gate);
    }
  }
}

}  // namespace hadal::ops::reference
