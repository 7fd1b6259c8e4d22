#pragma once

#include <cstdint>

#include "ops/reference/elements.h"

namespace hadal::ops::reference {

/// sum[k] += factor_of(i) * row_of(i)[k] for i in [0, count) ascending and k in [0, length): what the transposes of
/// `dots` come down to, in double as there.
template <class FactorOf, class RowOf>
void add_weighted_rows(std::int64_t count, std::int64_t length, FactorOf&& factor_of, RowOf&& row_of, double* sum) {
  for (std::int64_t i = 0; i < count; ++i) {
    const auto factor = widen<double>(factor_of(i));
    const auto* row = row_of(i);
    for (std::int64_t k = 0; k < length; ++k) sum[k] += factor * widen<double>(row[k]);
  }
}

}  // namespace hadal::ops::reference
