#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace hadal::ops::reference {

/// Writes the ids of the `chosen` largest of `count` scores to order[0, chosen), ascending by id. A total order: larger
/// first, lower id on ties, NaN after everything else. `order` holds `count` ids; chosen <= count.
template <class T>
void select_top(const T* scores, std::int64_t count, std::int64_t chosen, std::int32_t* order) {
  for (std::int64_t i = 0; i < count; ++i) order[i] = static_cast<std::int32_t>(i);
  const auto before = [scores](std::int32_t a, std::int32_t b) {
    const T score_a = scores[a];
    const T score_b = scores[b];
    if (std::isnan(score_a) != std::isnan(score_b)) return std::isnan(score_b);
    if (score_a != score_b && !std::isnan(score_a)) return score_a > score_b;
    return a < b;
  };
  std::partial_sort(order, order + chosen, order + count, before);
  std::sort(order, order + chosen);
}

}  // namespace hadal::ops::reference
