#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "ops/step_case.h"

namespace hadal::testing {

/// A step in which every sequence begins, as training makes them: sequences of these lengths one after the other.
[[nodiscard]] inline StepCase training_step(const std::vector<std::int64_t>& lengths) {
  StepCase step;
  std::int64_t longest = 0;
  for (const std::int64_t length : lengths) {
    step.sequences.push_back({.start = 0, .rows = length, .slot = 0});
    longest = std::max(longest, length);
  }
  step.pages_per_sequence = (longest + 127) / 128;
  return step;
}

/// The blocks that a training step completes, in the order of their rows.
struct Blocks {
  std::vector<std::int64_t> last_row;  // of each block
  std::vector<std::int64_t> first;     // of each sequence

  Blocks(const StepCase& step, std::int64_t ratio) {
    step.for_each_row([&](std::int64_t row, std::size_t, std::int64_t position) {
      if (position == 0) first.push_back(count());
      if ((position + 1) % ratio == 0) last_row.push_back(row);
    });
  }
  [[nodiscard]] std::int64_t count() const { return static_cast<std::int64_t>(last_row.size()); }
};

/// Rows [rows, columns] of the entries of all blocks, cut into the sequences' histories.
[[nodiscard]] inline std::vector<History> histories_of(const StepCase& step, std::int64_t ratio,
                                                       const std::vector<double>& rows, std::int64_t columns) {
  std::vector<History> histories;
  auto next = rows.begin();
  for (const StepCase::Sequence& sequence : step.sequences) {
    const auto end = next + sequence.rows / ratio * columns;
    histories.emplace_back(next, end);
    next = end;
  }
  return histories;
}

/// |a - b| / |b|, Euclidean norms of whole tensors.
[[nodiscard]] inline double relative_distance(std::span<const double> a, std::span<const double> b) {
  double apart = 0;
  double length = 0;
  for (std::size_t i = 0; i < b.size(); ++i) {
    apart += (a[i] - b[i]) * (a[i] - b[i]);
    length += b[i] * b[i];
  }
  return apart == 0 ? 0 : std::sqrt(apart / length);
}

}  // namespace hadal::testing
