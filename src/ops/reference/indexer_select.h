#pragma once

#include <algorithm>

#include "ops/indexer_select.h"
#include "ops/reference/dots.h"
#include "ops/reference/row_place.h"
#include "ops/reference/scratch.h"
#include "ops/reference/top_k.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const IndexerSelect::Args& args) {
  return any_f64({args.query.type(), args.head_weights.type()});
}

[[nodiscard]] inline std::int64_t scratch_bytes(const IndexerSelect::Args& args) {
  return padded_bytes<RowPlace>(args.max_entries) + padded_bytes<double>(args.max_entries) +
         padded_bytes<std::int32_t>(args.max_entries);
}

/// scores[j] = sum over heads ascending of weight_h * max(0, query_h . entry_j).
template <class T>
void score_entries(const IndexerSelect::Args& args, std::int64_t token, const RowPlace* entries, std::int64_t count,
                   T* scores) {
  std::fill(scores, scores + count, T{0});
  visit_type(args.query.type(), [&]<class E>(E) {
    for (std::int64_t head = 0; head < args.query.extent(1); ++head) {
      const T weight =
          load<T>(args.head_weights, offset_of(args.head_weights, token) + head) * static_cast<T>(args.weight_scale);
      dots<T>(
          args.query.as<E>() + offset_of(args.query, token, head), args.query.extent(2), count,
          [entries](std::int64_t j) { return entries[j].template as<E>(); },
          // A NaN product stays NaN: it must not look like a score of 0.
          [scores, weight](std::int64_t j, T product) { scores[j] += weight * (product < 0 ? T{0} : product); });
    }
  });
}

template <class T>
void indexer_select(const IndexerSelect::Args& args, Scratch scratch) {
  const std::int64_t topk = args.selected.extent(1);
  auto* entries = scratch.take<RowPlace>(args.max_entries);
  T* scores = scratch.take<T>(args.max_entries);
  auto* order = scratch.take<std::int32_t>(args.max_entries);
  for (std::int64_t token = 0; token < args.selected.extent(0); ++token) {
    const std::int64_t visible = visible_entries(args.layout.positions.as<std::int64_t>()[token], args.ratio);
    const std::int64_t chosen = std::min(visible, topk);
    auto* selected = args.selected.row<std::int32_t>(token);
    if (visible <= topk) {
      for (std::int64_t i = 0; i < visible; ++i) selected[i] = static_cast<std::int32_t>(i);
    } else {
      const std::int64_t sequence = args.layout.sequence.as<std::int32_t>()[token];
      for (std::int64_t j = 0; j < visible; ++j) {
        entries[j] = place_of_entry(args.layout, args.pages, args.ratio, sequence, j);
      }
      score_entries(args, token, entries, visible, scores);
      select_top(scores, visible, chosen, order);
      std::copy(order, order + chosen, selected);
    }
    std::fill(selected + chosen, selected + topk, -1);
  }
}

}  // namespace hadal::ops::reference
