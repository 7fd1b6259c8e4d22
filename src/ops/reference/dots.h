#pragma once

#include <cstdint>

#include "ops/reference/elements.h"

namespace hadal::ops::reference {

/// sink(i, sum over k ascending of a[k] * row_of(i)[k]) for i in [0, count): the dot products of one vector with many,
/// multiplied and added in double and rounded once to T. Four sums advance side by side (a single chain of additions
/// waits for itself); each keeps its own ascending order, so that the number of rows does not show in any bit.
template <class T, class A, class RowOf, class Sink>
void dots(const A* a, std::int64_t length, std::int64_t count, RowOf&& row_of, Sink&& sink) {
  std::int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    const auto* b0 = row_of(i);
    const auto* b1 = row_of(i + 1);
    const auto* b2 = row_of(i + 2);
    const auto* b3 = row_of(i + 3);
    double sum0 = 0;
    double sum1 = 0;
    double sum2 = 0;
    double sum3 = 0;
    for (std::int64_t k = 0; k < length; ++k) {
      const double factor = widen<double>(a[k]);
      sum0 += factor * widen<double>(b0[k]);
      sum1 += factor * widen<double>(b1[k]);
      sum2 += factor * widen<double>(b2[k]);
      sum3 += factor * widen<double>(b3[k]);
    }
    sink(i, static_cast<T>(sum0));
    sink(i + 1, static_cast<T>(sum1));
    sink(i + 2, static_cast<T>(sum2));
    sink(i + 3, static_cast<T>(sum3));
  }
  for (; i < count; ++i) {
    const auto* b = row_of(i);
    double sum = 0;
    for (std::int64_t k = 0; k < length; ++k) sum += widen<double>(a[k]) * widen<double>(b[k]);
    sink(i, static_cast<T>(sum));
  }
}

}  // namespace hadal::ops::reference
