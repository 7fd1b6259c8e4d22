#pragma once

#include <algorithm>
#include <cmath>

#include "ops/reference/attention.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const AttentionBackward::Args& args) { return any_f64({args.query.type()}); }

[[nodiscard]] inline std::int64_t scratch_bytes(const AttentionBackward::Args& args) {
  return 2 * padded_bytes<RowPlace>(args.max_keys) + 2 * padded_bytes<double>(args.max_keys) +
         padded_bytes<double>(args.query.extent(2));
}

/// One query row's keys and where their gradients lie, in one order.
struct GradientKeys {
  RowPlace* keys;
  RowPlace* gradients;
  std::int64_t count = 0;
};

inline void list_keys(const AttentionBackward::Args& args, std::int64_t token, GradientKeys& list) {
  const StepLayout& layout = args.layout;
  const std::int64_t sequence = layout.sequence.as<std::int32_t>()[token];
  // Row of position 0: rows of a drafter begin at position -1.
  const std::int64_t first_row =
      layout.first_row.as<std::int32_t>()[sequence] - layout.start.as<std::int64_t>()[sequence];
  list.count = 0;
  for_each_key(
      args, token,
      [&](std::int64_t position) {
        list.keys[list.count] = {&args.step_keys, offset_of(args.step_keys, first_row + position)};
        list.gradients[list.count++] = {&args.d_step_keys, offset_of(args.d_step_keys, first_row + position)};
      },
      [&](std::int64_t entry) {
        const std::int64_t block = args.first_block.as<std::int32_t>()[sequence] + entry;
        list.keys[list.count] = place_of_entry(layout, args.pages, args.ratio, sequence, entry);
        list.gradients[list.count++] = {&args.d_entries, offset_of(args.d_entries, block)};
      });
}

/// One head of one row, given D = <d_out, out>: overwrites d_query, adds to the gradients of the keys.
template <class E, class T>
void attend_head_backward(const E* query, const T* d_out, T log_sum, T scale, T product, const GradientKeys& list,
                          std::int64_t channels, T* probabilities, T* d_scores, T* d_query) {
  const auto row_of = [&list](std::int64_t j) { return list.keys[j].template as<E>(); };
  dots<T>(query, channels, list.count, row_of,
          [&](std::int64_t j, T score) { probabilities[j] = std::exp(scale * score - log_sum); });
  dots<T>(d_out, channels, list.count, row_of,
          [&](std::int64_t j, T d_probability) { d_scores[j] = scale * probabilities[j] * (d_probability - product); });
  std::fill(d_query, d_query + channels, T{0});
  for (std::int64_t j = 0; j < list.count; ++j) {
    const T d_score = product_input<E>(d_scores[j]);
    const T probability = product_input<E>(probabilities[j]);
    const E* key = list.keys[j].template as<E>();
    T* d_key = list.gradients[j].view->template as<T>() + list.gradients[j].offset;
    for (std::int64_t c = 0; c < channels; ++c) {
      d_query[c] += d_score * widen<T>(key[c]);
      d_key[c] += d_score * widen<T>(query[c]) + probability * d_out[c];
    }
  }
}

template <class T>
void attention_backward(const AttentionBackward::Args& args, Scratch scratch) {
  const std::int64_t channels = args.query.extent(2);
  GradientKeys list{.keys = scratch.take<RowPlace>(args.max_keys), .gradients = scratch.take<RowPlace>(args.max_keys)};
  T* probabilities = scratch.take<T>(args.max_keys);
  T* d_scores = scratch.take<T>(args.max_keys);
  T* d_out = scratch.take<T>(channels);
  std::fill_n(args.d_step_keys.as<T>(), args.d_step_keys.elements(), T{0});
  if (!args.d_entries.absent()) std::fill_n(args.d_entries.as<T>(), args.d_entries.elements(), T{0});
  visit_type(args.query.type(), [&]<class E>(E) {
    for (std::int64_t token = 0; token < args.query.extent(0); ++token) {
      list_keys(args, token, list);
      for (std::int64_t head = 0; head < args.query.extent(1); ++head) {
        const std::int64_t row = offset_of(args.query, token, head);
        const T* out = args.out.as<T>() + row;
        double product = 0;
        for (std::int64_t c = 0; c < channels; ++c) {
          d_out[c] = product_input<E>(args.d_out.as<T>()[row + c]);
          product += widen<double>(d_out[c]) * widen<double>(out[c]);
        }
        const T log_sum = args.log_sum.row<T>(token)[head];
        attend_head_backward(args.query.as<E>() + row, d_out, log_sum, static_cast<T>(args.scale),
                             static_cast<T>(product), list, channels, probabilities, d_scores,
                             args.d_query.as<T>() + row);
        if (!args.d_sink.absent()) {
          args.d_sink.as<T>()[head] -= std::exp(load<T>(args.sink.codes, head) - log_sum) * static_cast<T>(product);
        }
      }
    }
  });
}

}  // namespace hadal::ops::reference
