#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/compress.h"
#include "ops/reference/row_place.h"
#include "ops/reference/scratch.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const Compress::Args& args) { return any_f64({args.value.type()}); }

/// A slot of a pooled entry: one token's gate and value row, from the channel on that takes part.
struct PoolSlot {
  RowPlace gate;
  RowPlace value;
};

[[nodiscard]] inline std::int64_t scratch_bytes(const Compress::Args& args) {
  return padded_bytes<PoolSlot>(2 * args.ratio) + padded_bytes<double>(2 * args.ratio);
}

/// The slots of the block whose last token is row `last_row`, in token order; with overlap the block before comes
/// first with its channels [0, C), and the block itself has channels [C, 2C). Returns their number.
inline std::int64_t list_slots(const Compress::Args& args, std::int64_t last_row, PoolSlot* slots) {
  const std::int64_t channels = args.out.extent(1);
  const std::int64_t sequence = args.layout.sequence.as<std::int32_t>()[last_row];
  const std::int64_t end = args.layout.positions.as<std::int64_t>()[last_row] + 1;
  const std::int64_t block_begin = end - args.ratio;
  const std::int64_t begin = args.overlap ? std::max<std::int64_t>(block_begin - args.ratio, 0) : block_begin;
  std::int64_t count = 0;
  for (std::int64_t position = begin; position < end; ++position) {
    PoolSlot slot{.gate = place_of_position(args.layout, args.gate, args.gate_ring, sequence, position),
                  .value = place_of_position(args.layout, args.value, args.value_ring, sequence, position)};
    if (args.overlap && position >= block_begin) {
      slot.gate.offset += channels;
      slot.value.offset += channels;
    }
    slots[count++] = slot;
  }
  return count;
}

/// weights = exp(gate - largest gate) of the slots' channel. Returns their sum.
template <class T>
T softmax_of_slots(const PoolSlot* slots, std::int64_t count, std::int64_t channel, T* weights) {
  T maximum = -std::numeric_limits<T>::infinity();
  for (std::int64_t i = 0; i < count; ++i) {
    weights[i] = load<T>(*slots[i].gate.view, slots[i].gate.offset + channel);
    maximum = std::max(maximum, weights[i]);
  }
  T sum = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    weights[i] = std::exp(weights[i] - maximum);
    sum += weights[i];
  }
  return sum;
}

template <class T>
void compress(const Compress::Args& args, Scratch scratch) {
  auto* slots = scratch.take<PoolSlot>(2 * args.ratio);
  T* weights = scratch.take<T>(2 * args.ratio);
  for (std::int64_t block = 0; block < args.out.extent(0); ++block) {
    const std::int64_t count = list_slots(args, args.last_row.as<std::int32_t>()[block], slots);
    for (std::int64_t c = 0; c < args.out.extent(1); ++c) {
      const T sum = softmax_of_slots(slots, count, c, weights);
      T pooled = 0;
      for (std::int64_t i = 0; i < count; ++i) {
        pooled += weights[i] / sum * load<T>(*slots[i].value.view, slots[i].value.offset + c);
      }
      store(args.out, offset_of(args.out, block) + c, pooled);
    }
  }
}

}  // namespace hadal::ops::reference
