#pragma once

#include <algorithm>
#include <cmath>

#include "ops/cross_entropy.h"
#include "ops/reference/elements.h"
#include "ops/reference/scratch.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const CrossEntropy::Args& args) { return any_f64({args.logits.type()}); }

[[nodiscard]] inline std::int64_t scratch_bytes(const CrossEntropy::Args& args) {
  return padded_bytes<double>(args.logits.extent(1));
}

template <class T>
void cross_entropy(const CrossEntropy::Args& args, Scratch scratch) {
  const std::int64_t vocabulary = args.logits.extent(1);
  const auto weight = static_cast<T>(args.weight);
  T* row_values = scratch.take<T>(vocabulary);
  for (std::int64_t row = 0; row < args.logits.extent(0); ++row) {
    const std::int64_t target = args.targets.as<std::int32_t>()[row];
    T loss = 0;
    if (target < 0) {
      std::fill(row_values, row_values + vocabulary, T{0});
    } else {
      load_row(args.logits, offset_of(args.logits, row), vocabulary, row_values);
      const T largest = *std::max_element(row_values, row_values + vocabulary);
      const T above = largest - row_values[target];
      double sum = 0;
      for (std::int64_t v = 0; v < vocabulary; ++v) {
        row_values[v] = std::exp(row_values[v] - largest);
        sum += static_cast<double>(row_values[v]);
      }
      loss = static_cast<T>(std::log(sum)) + above;
      for (std::int64_t v = 0; v < vocabulary; ++v) row_values[v] *= weight / static_cast<T>(sum);
      row_values[target] -= weight;
    }
    store(args.loss, row, loss);
    if (!args.d_logits.absent()) store_row(row_values, vocabulary, args.d_logits, offset_of(args.d_logits, row));
  }
}

}  // namespace hadal::ops::reference
