#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "ops/step_layout.h"
#include "testing/op_runner.h"

namespace hadal::testing {

/// One row of `channels` values for each position (or entry) of one sequence, from 0 on.
using History = std::vector<double>;

/// A step over several sequences whose whole histories the test knows. The operators see only what a real step would
/// give them: this step's rows, rings with the committed rows that still fit, pages with the finished entries;
/// everything else is NaN.
struct StepCase {
  struct Sequence {
    std::int64_t start;  // position of its first row in this step
    std::int64_t rows;
    std::int64_t slot;
  };
  std::vector<Sequence> sequences;  // in the order of their rows
  std::int64_t slots = 1;
  std::int64_t ring_rows = 1;
  std::int64_t pages_per_sequence = 1;

  [[nodiscard]] std::int64_t rows() const {
    std::int64_t count = 0;
    for (const Sequence& sequence : sequences) count += sequence.rows;
    return count;
  }
  [[nodiscard]] std::int64_t page_count() const {
    return static_cast<std::int64_t>(sequences.size()) * pages_per_sequence;
  }
  /// Pages of different sequences interleave, the later sequence first.
  [[nodiscard]] std::int64_t page(std::int64_t sequence, std::int64_t index) const {
    const auto count = static_cast<std::int64_t>(sequences.size());
    return index * count + (count - 1 - sequence);
  }
  /// Calls body(row, sequence, position) for every row of the step.
  void for_each_row(auto&& body) const {
    std::int64_t row = 0;
    for (std::size_t s = 0; s < sequences.size(); ++s) {
      for (std::int64_t i = 0; i < sequences[s].rows; ++i) body(row++, s, sequences[s].start + i);
    }
  }
};

[[nodiscard]] inline ops::StepLayout layout_of(OpRunner& runner, const StepCase& step) {
  std::vector<std::int64_t> positions, sequence, first_row, start, state_slot, page_table;
  step.for_each_row([&](std::int64_t, std::size_t s, std::int64_t position) {
    positions.push_back(position);
    sequence.push_back(static_cast<std::int64_t>(s));
  });
  std::int64_t row = 0;
  for (const StepCase::Sequence& one : step.sequences) {
    first_row.push_back(row);
    start.push_back(one.start);
    state_slot.push_back(one.slot);
    for (std::int64_t i = 0; i < step.pages_per_sequence; ++i) {
      page_table.push_back(step.page(static_cast<std::int64_t>(start.size()) - 1, i));
    }
    row += one.rows;
  }
  const auto count = static_cast<std::int64_t>(step.sequences.size());
  return {.positions = runner.i64({step.rows()}, positions),
          .sequence = runner.i32({step.rows()}, sequence),
          .first_row = runner.i32({count}, first_row),
          .start = runner.i64({count}, start),
          .state_slot = runner.i32({count}, state_slot),
          .page_table = runner.i32({count, step.pages_per_sequence}, page_table)};
}

/// This step's rows, one after the other.
[[nodiscard]] inline std::vector<double> step_rows(const StepCase& step, const std::vector<History>& histories,
                                                   std::int64_t channels) {
  std::vector<double> rows;
  step.for_each_row([&](std::int64_t, std::size_t s, std::int64_t position) {
    const auto begin = histories[s].begin() + position * channels;
    rows.insert(rows.end(), begin, begin + channels);
  });
  return rows;
}

/// [slots, ring rows, channels]: the last committed rows of each sequence.
[[nodiscard]] inline std::vector<double> ring_of(const StepCase& step, const std::vector<History>& histories,
                                                 std::int64_t channels) {
  std::vector<double> ring(static_cast<std::size_t>(step.slots * step.ring_rows * channels),
                           std::numeric_limits<double>::quiet_NaN());
  for (std::size_t s = 0; s < step.sequences.size(); ++s) {
    const StepCase::Sequence& sequence = step.sequences[s];
    for (std::int64_t p = std::max<std::int64_t>(0, sequence.start - step.ring_rows); p < sequence.start; ++p) {
      std::copy_n(histories[s].begin() + p * channels, channels,
                  ring.begin() + (sequence.slot * step.ring_rows + p % step.ring_rows) * channels);
    }
  }
  return ring;
}

/// [pages, 128 / ratio, channels]: all entries of each sequence's history.
[[nodiscard]] inline std::vector<double> pages_of(const StepCase& step, const std::vector<History>& entries,
                                                  std::int64_t ratio, std::int64_t channels) {
  const std::int64_t per_page = 128 / ratio;
  std::vector<double> pages(static_cast<std::size_t>(step.page_count() * per_page * channels),
                            std::numeric_limits<double>::quiet_NaN());
  for (std::size_t s = 0; s < entries.size(); ++s) {
    for (std::int64_t j = 0; j < static_cast<std::int64_t>(entries[s].size()) / channels; ++j) {
      const std::int64_t page = step.page(static_cast<std::int64_t>(s), j / per_page);
      std::copy_n(entries[s].begin() + j * channels, channels,
                  pages.begin() + (page * per_page + j % per_page) * channels);
    }
  }
  return pages;
}

/// The steps that feed the same rows in pieces of at most `piece` rows a sequence, all sequences side by side; a
/// sequence that has ended takes part with no rows.
[[nodiscard]] inline std::vector<StepCase> split(const StepCase& whole, std::int64_t piece) {
  std::vector<StepCase> steps;
  for (std::int64_t done = 0;; done += piece) {
    StepCase step = whole;
    for (StepCase::Sequence& sequence : step.sequences) {
      const std::int64_t left = std::max<std::int64_t>(0, sequence.rows - done);
      sequence.start += std::min(done, sequence.rows);
      sequence.rows = std::min(piece, left);
    }
    if (step.rows() == 0) return steps;
    steps.push_back(step);
  }
}

}  // namespace hadal::testing
