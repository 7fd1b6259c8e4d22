#include <cmath>

#include "ops/append_entries.h"
#include "ops/backend_cases.h"
#include "ops/commit_rows.h"
#include "ops/previous_rows.h"
#include "ops/step_case.h"
#include "testing/compare.h"

namespace hadal::ops {
namespace {

using testing::History;
using testing::StepCase;

constexpr std::int64_t kChannels = 3;

HADAL_BACKEND_SUITE(StateRowsTest);

/// Whole numbers below 251, exact in every type, different for neighbouring rows, channels and sequences.
std::vector<History> named_histories(std::size_t sequences, std::int64_t length) {
  std::vector<History> histories(sequences);
  for (std::size_t s = 0; s < sequences; ++s) {
    for (std::int64_t p = 0; p < length; ++p) {
      for (std::int64_t c = 0; c < kChannels; ++c) {
        histories[s].push_back(static_cast<double>((static_cast<std::int64_t>(s) * 83 + p * kChannels + c) % 251));
      }
    }
  }
  return histories;
}

TEST_P(StateRowsTest, CommitEqualsARingThatWasFilledRowByRow) {
  const std::vector<History> histories = named_histories(3, 80);
  for (const DType type : product_types()) {
    for (const std::int64_t ring_rows : {1, 5, 8}) {
      for (const std::vector<std::int64_t>& counts :
           std::vector<std::vector<std::int64_t>>{{0, 0, 0}, {1, 7, 3}, {9, 20, 2}}) {
        const StepCase before{.sequences = {{.start = 0, .rows = 9, .slot = 2},
                                            {.start = 13, .rows = 20, .slot = 0},
                                            {.start = 7, .rows = 4, .slot = 3}},
                              .slots = 4,
                              .ring_rows = ring_rows};
        const Shape shape{4, ring_rows, kChannels};
        const TensorView ring = runner_.tensor(type, shape, ring_of(before, histories, kChannels), 4);
        runner_.run(commit_rows,
                    {.rows = runner_.tensor(type, {33, kChannels}, step_rows(before, histories, kChannels)),
                     .ring = ring,
                     .count = runner_.i32({3}, counts),
                     .position_offset = 0,
                     .layout = layout_of(runner_, before)});
        // Accepted rows overwrite from the oldest on, which is the ring of a sequence that starts later.
        StepCase after = before;
        for (std::size_t s = 0; s < 3; ++s) after.sequences[s].start += counts[s];
        testing::expect_same(runner_.values(ring), ring_of(after, histories, kChannels));
      }
    }
  }
}

TEST_P(StateRowsTest, CommitWithAnOffsetSkipsNegativePositions) {
  for (const DType type : product_types()) {
    const StepCase step{.sequences = {{.start = 0, .rows = 3, .slot = 0}, {.start = 4, .rows = 2, .slot = 1}},
                        .slots = 2,
                        .ring_rows = 4};
    const TensorView ring = runner_.tensor(type, {2, 4, 1}, std::vector<double>(8, 0.0));
    runner_.run(commit_rows, {.rows = runner_.tensor(type, {5, 1}, {10, 11, 12, 20, 21}),
                              .ring = ring,
                              .count = runner_.i32({2}, {3, 2}),
                              .position_offset = -1,
                              .layout = layout_of(runner_, step)});
    testing::expect_same(runner_.values(ring), std::vector<double>{11, 12, 0, 0, 21, 0, 0, 20});
  }
}

TEST_P(StateRowsTest, PreviousRowsComeFromTheStepTheRingOrNowhere) {
  const std::vector<History> histories = named_histories(3, 80);
  for (const DType type : real_types()) {
    for (const std::int64_t ring_rows : {1, 6}) {
      const StepCase step{.sequences = {{.start = 0, .rows = 4, .slot = 1},
                                        {.start = 36, .rows = 3, .slot = 0},
                                        {.start = 1, .rows = 1, .slot = 2}},
                          .slots = 3,
                          .ring_rows = ring_rows};
      const TensorView out = runner_.empty(type, {8, kChannels});
      runner_.run(previous_rows,
                  {.rows = runner_.tensor(type, {8, kChannels}, step_rows(step, histories, kChannels)),
                   .ring = runner_.tensor(type, {3, ring_rows, kChannels}, ring_of(step, histories, kChannels), 2),
                   .layout = layout_of(runner_, step),
                   .out = out});
      std::vector<double> expected;
      step.for_each_row([&](std::int64_t, std::size_t s, std::int64_t position) {
        for (std::int64_t c = 0; c < kChannels; ++c) {
          expected.push_back(position == 0 ? 0
                                           : histories[s][static_cast<std::size_t>((position - 1) * kChannels + c)]);
        }
      });
      testing::expect_same(runner_.values(out), expected);
    }
  }
}

TEST_P(StateRowsTest, EntriesGoToTheirPlaceInTheirPages) {
  for (const DType type : product_types()) {
    for (const std::int64_t ratio : {4, 128}) {
      // Steps that end blocks in several pages of two sequences.
      const StepCase step{.sequences = {{.start = 120, .rows = 150, .slot = 0}, {.start = 254, .rows = 4, .slot = 1}},
                          .slots = 2,
                          .ring_rows = 1,
                          .pages_per_sequence = 3};
      const std::int64_t per_page = 128 / ratio;
      std::vector<double> expected(static_cast<std::size_t>(6 * per_page * kChannels), -1.0);
      std::vector<double> rows;
      std::vector<std::int64_t> last_row;
      step.for_each_row([&](std::int64_t row, std::size_t s, std::int64_t position) {
        if ((position + 1) % ratio != 0) return;
        last_row.push_back(row);
        const std::int64_t entry = position / ratio;
        const std::int64_t place =
            step.page(static_cast<std::int64_t>(s), entry / per_page) * per_page + entry % per_page;
        for (std::int64_t c = 0; c < kChannels; ++c) {
          rows.push_back(static_cast<double>(last_row.size() * 4) + static_cast<double>(c));
          expected[static_cast<std::size_t>(place * kChannels + c)] = rows.back();
        }
      });
      const auto blocks = static_cast<std::int64_t>(last_row.size());
      const TensorView pages =
          runner_.tensor(type, {6, per_page, kChannels}, std::vector<double>(expected.size(), -1.0), 10);
      runner_.run(append_entries, {.rows = runner_.tensor(type, {blocks, kChannels}, rows),
                                   .last_row = runner_.i32({blocks}, last_row),
                                   .layout = layout_of(runner_, step),
                                   .ratio = ratio,
                                   .pages = pages});
      testing::expect_same(runner_.values(pages), expected);
    }
  }
}

}  // namespace
}  // namespace hadal::ops
