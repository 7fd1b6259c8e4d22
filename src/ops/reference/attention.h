#pragma once

#include <algorithm>
#include <cmath>

#include "ops/attention.h"
#include "ops/reference/dots.h"
#include "ops/reference/row_place.h"
#include "ops/reference/scratch.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const Attention::Args& args) { return any_f64({args.query.type()}); }

[[nodiscard]] inline std::int64_t scratch_bytes(const Attention::Args& args) {
  return padded_bytes<RowPlace>(args.max_keys) + padded_bytes<double>(args.max_keys) +
         padded_bytes<double>(args.query.extent(2));
}

/// Calls on_position(position) and on_entry(entry) for the keys of query row `token` in canonical order: window
/// positions ascending, then entries ascending. `args` are those of attention, forward or backward.
void for_each_key(const auto& args, std::int64_t token, auto&& on_position, auto&& on_entry) {
  const std::int64_t end = args.window_end.template as<std::int64_t>()[token];
  for (std::int64_t position = args.window_begin.template as<std::int64_t>()[token]; position < end; ++position) {
    on_position(position);
  }
  if (args.ratio == 0) return;
  if (args.selected.absent()) {
    const std::int64_t position = args.layout.positions.template as<std::int64_t>()[token];
    const std::int64_t visible = visible_entries(position, args.ratio);
    for (std::int64_t entry = 0; entry < visible; ++entry) on_entry(entry);
    return;
  }
  const std::int32_t* selected = args.selected.template row<std::int32_t>(token);
  for (std::int64_t i = 0; i < args.selected.extent(1) && selected[i] >= 0; ++i) on_entry(selected[i]);
}

/// The places of a row's keys in canonical order. Returns their number.
inline std::int64_t list_keys(const Attention::Args& args, std::int64_t token, RowPlace* keys) {
  const StepLayout& layout = args.layout;
  const std::int64_t sequence = layout.sequence.as<std::int32_t>()[token];
  std::int64_t count = 0;
  for_each_key(
      args, token,
      [&](std::int64_t position) {
        keys[count++] = place_of_position(layout, args.step_keys, args.window, sequence, position);
      },
      [&](std::int64_t entry) { keys[count++] = place_of_entry(layout, args.pages, args.ratio, sequence, entry); });
  return count;
}

/// One head: out[c] = sum_j p_j key_j[c], j ascending. Returns log(sum_j exp(s_j) + exp(sink)).
template <class T, class E>
T attend_head(const E* query, const RowPlace* keys, std::int64_t count, std::int64_t channels, T scale, T sink,
              T* scores, T* out) {
  dots<T>(
      query, channels, count, [keys](std::int64_t j) { return keys[j].template as<E>(); },
      [scores, scale](std::int64_t j, T product) { scores[j] = product * scale; });
  T maximum = sink;
  for (std::int64_t j = 0; j < count; ++j) maximum = std::max(maximum, scores[j]);
  T sum = 0;
  for (std::int64_t j = 0; j < count; ++j) {
    scores[j] = std::exp(scores[j] - maximum);
    sum += scores[j];
  }
  sum += std::exp(sink - maximum);
  for (std::int64_t c = 0; c < channels; ++c) out[c] = 0;
  for (std::int64_t j = 0; j < count; ++j) {
    const E* key = keys[j].template as<E>();
    const T probability = scores[j] / sum;
    for (std::int64_t c = 0; c < channels; ++c) out[c] += probability * widen<T>(key[c]);
  }
  return maximum + std::log(sum);
}

template <class T>
void attention(const Attention::Args& args, Scratch scratch) {
  const std::int64_t channels = args.query.extent(2);
  auto* keys = scratch.take<RowPlace>(args.max_keys);
  T* scores = scratch.take<T>(args.max_keys);
  T* sum = scratch.take<T>(channels);
  visit_type(args.query.type(), [&]<class E>(E) {
    for (std::int64_t token = 0; token < args.query.extent(0); ++token) {
      const std::int64_t count = list_keys(args, token, keys);
      for (std::int64_t head = 0; head < args.query.extent(1); ++head) {
        const T log_sum = attend_head<T>(args.query.as<E>() + offset_of(args.query, token, head), keys, count, channels,
                                         static_cast<T>(args.scale), load<T>(args.sink.codes, head), scores, sum);
        if (!args.log_sum.absent()) store(args.log_sum, offset_of(args.log_sum, token) + head, log_sum);
        store_row(sum, channels, args.out, offset_of(args.out, token, head));
      }
    }
  });
}

}  // namespace hadal::ops::reference
