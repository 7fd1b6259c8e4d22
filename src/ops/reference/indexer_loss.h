#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/indexer_loss.h"
#include "ops/reference/dots.h"
#include "ops/reference/row_place.h"
#include "ops/reference/scratch.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const IndexerLoss::Args& args) { return any_f64({args.attention_query.type()}); }

[[nodiscard]] inline std::int64_t scratch_bytes(const IndexerLoss::Args& args) {
  return 2 * padded_bytes<RowPlace>(args.max_entries) + padded_bytes<std::int32_t>(args.max_entries) +
         2 * padded_bytes<double>(args.max_entries) + padded_bytes<double>(args.query.extent(1) * args.max_entries);
}

/// The set of entries of one row, and what is computed for each of them.
template <class T>
struct IndexerRow {
  std::int64_t token = 0;
  std::int64_t count = 0;
  std::int32_t* ids;            // ascending
  RowPlace* attention_entries;  // rows of attention_pages
  RowPlace* entries;            // rows of pages
  T* target;                    // p, then the gradient of the scores
  T* scores;
  T* products;  // [heads, max_entries]: query_h . entry_j
};

template <class T>
void list_entries(const IndexerLoss::Args& args, IndexerRow<T>& row) {
  const std::int64_t sequence = args.layout.sequence.as<std::int32_t>()[row.token];
  const std::int64_t visible = visible_entries(args.layout.positions.as<std::int64_t>()[row.token], args.ratio);
  row.count = 0;
  const auto add = [&](std::int32_t entry) {
    row.ids[row.count] = entry;
    row.attention_entries[row.count] = place_of_entry(args.layout, args.attention_pages, args.ratio, sequence, entry);
    row.entries[row.count++] = place_of_entry(args.layout, args.pages, args.ratio, sequence, entry);
  };
  if (args.selected.absent()) {
    for (std::int64_t entry = 0; entry < visible; ++entry) add(static_cast<std::int32_t>(entry));
    return;
  }
  const std::int32_t* selected = args.selected.row<std::int32_t>(row.token);
  for (std::int64_t i = 0; i < args.selected.extent(1) && selected[i] >= 0; ++i) add(selected[i]);
}

/// target = attention's mass on the set, scaled to sum 1. False if there is none.
template <class E, class T>
bool make_target(const IndexerLoss::Args& args, const IndexerRow<T>& row) {
  std::fill_n(row.target, row.count, T{0});
  for (std::int64_t head = 0; head < args.attention_query.extent(1); ++head) {
    const T log_sum = args.log_sum.row<T>(row.token)[head];
    dots<T>(
        args.attention_query.as<E>() + offset_of(args.attention_query, row.token, head), args.attention_query.extent(2),
        row.count, [&](std::int64_t j) { return row.attention_entries[j].template as<E>(); },
        [&](std::int64_t j, T product) {
          row.target[j] += std::exp(static_cast<T>(args.attention_scale) * product - log_sum);
        });
  }
  T mass = 0;
  for (std::int64_t j = 0; j < row.count; ++j) mass += row.target[j];
  for (std::int64_t j = 0; j < row.count; ++j) row.target[j] /= mass;
  return !(mass == 0);
}

template <class E, class T>
void score_set(const IndexerLoss::Args& args, const IndexerRow<T>& row) {
  std::fill_n(row.scores, row.count, T{0});
  for (std::int64_t head = 0; head < args.query.extent(1); ++head) {
    const T weight = args.head_weights.row<T>(row.token)[head] * static_cast<T>(args.weight_scale);
    T* products = row.products + head * args.max_entries;
    dots<T>(
        args.query.as<E>() + offset_of(args.query, row.token, head), args.query.extent(2), row.count,
        [&](std::int64_t j) { return row.entries[j].template as<E>(); },
        [&](std::int64_t j, T product) {
          products[j] = product;
          row.scores[j] += weight * (product < 0 ? T{0} : product);  // as indexer_select: NaN stays NaN
        });
  }
}

/// The row's divergence; target becomes row_weight times its gradient by the scores.
template <class T>
T diverge(const IndexerLoss::Args& args, const IndexerRow<T>& row) {
  T maximum = -std::numeric_limits<T>::infinity();
  for (std::int64_t j = 0; j < row.count; ++j) maximum = std::max(maximum, row.scores[j]);
  T sum = 0;
  for (std::int64_t j = 0; j < row.count; ++j) sum += std::exp(row.scores[j] - maximum);
  const T log_sum = maximum + std::log(sum);
  T loss = 0;
  for (std::int64_t j = 0; j < row.count; ++j) {
    const T p = row.target[j];
    const T log_q = row.scores[j] - log_sum;
    if (p > 0) loss += p * (std::log(p) - log_q);
    row.target[j] = static_cast<T>(args.row_weight) * (std::exp(log_q) - p);
  }
  return loss;
}

/// Sum of the target on those entries of the set that are in `chosen`; both ascend.
template <class T>
T captured_mass(const IndexerLoss::Args& args, const IndexerRow<T>& row) {
  const std::int32_t* chosen = args.chosen.row<std::int32_t>(row.token);
  T mass = 0;
  std::int64_t j = 0;
  for (std::int64_t i = 0; i < args.chosen.extent(1) && chosen[i] >= 0; ++i) {
    while (j < row.count && row.ids[j] < chosen[i]) ++j;
    if (j < row.count && row.ids[j] == chosen[i]) mass += row.target[j];
  }
  return mass;
}

/// From the gradient of the scores (in target) to those of the head weights, the query and the entries.
template <class E, class T>
void score_set_backward(const IndexerLoss::Args& args, const IndexerRow<T>& row) {
  const std::int64_t channels = args.query.extent(2);
  const std::int64_t sequence = args.layout.sequence.as<std::int32_t>()[row.token];
  const std::int64_t first_block = args.first_block.as<std::int32_t>()[sequence];
  const auto scale = static_cast<T>(args.weight_scale);
  for (std::int64_t head = 0; head < args.query.extent(1); ++head) {
    const T weight = args.head_weights.row<T>(row.token)[head] * scale;
    const E* query = args.query.as<E>() + offset_of(args.query, row.token, head);
    T* d_query = args.d_query.as<T>() + offset_of(args.d_query, row.token, head);
    T d_weight = 0;
    for (std::int64_t j = 0; j < row.count; ++j) {
      const T product = row.products[head * args.max_entries + j];
      if (!(product > 0)) continue;
      d_weight += row.target[j] * product;
      const T d_product = product_input<E>(row.target[j] * weight);
      const E* entry = row.entries[j].template as<E>();
      T* d_entry = args.d_entries.row<T>(first_block + row.ids[j]);
      for (std::int64_t c = 0; c < channels; ++c) {
        d_query[c] += d_product * widen<T>(entry[c]);
        d_entry[c] += d_product * widen<T>(query[c]);
      }
    }
    args.d_head_weights.row<T>(row.token)[head] = d_weight * scale;
  }
}

template <class T>
void indexer_loss(const IndexerLoss::Args& args, Scratch scratch) {
  IndexerRow<T> row{.ids = scratch.take<std::int32_t>(args.max_entries),
                    .attention_entries = scratch.take<RowPlace>(args.max_entries),
                    .entries = scratch.take<RowPlace>(args.max_entries),
                    .target = scratch.take<T>(args.max_entries),
                    .scores = scratch.take<T>(args.max_entries),
                    .products = scratch.take<T>(args.query.extent(1) * args.max_entries)};
  for (const TensorView* out : {&args.loss, &args.captured, &args.d_query, &args.d_head_weights, &args.d_entries}) {
    if (!out->absent()) std::fill_n(out->as<T>(), out->elements(), T{0});
  }
  visit_type(args.query.type(), [&]<class E>(E) {
    for (row.token = 0; row.token < args.query.extent(0); ++row.token) {
      list_entries(args, row);
      if (row.count == 0 || !make_target<E>(args, row)) continue;
      if (!args.chosen.absent()) args.captured.as<T>()[row.token] = captured_mass(args, row);
      score_set<E>(args, row);
      args.loss.as<T>()[row.token] = diverge(args, row);
      score_set_backward<E>(args, row);
    }
  });
}

}  // namespace hadal::ops::reference
