// Offsets beyond 2^32 bytes: the same operator on the same values, once in a dense tensor and once in one whose slices
// lie gigabytes apart, must give the same bits.
#include <numeric>

#include "ops/append_entries.h"
#include "ops/attention.h"
#include "ops/backend_cases.h"
#include "ops/commit_rows.h"
#include "ops/embedding.h"
#include "ops/gather_rows.h"
#include "ops/indexer_select.h"
#include "ops/previous_rows.h"
#include "ops/step_case.h"
#include "testing/compare.h"
#include "testing/sparse_memory.h"

namespace hadal::ops {
namespace {

using testing::History;
using testing::SparseMemory;
using testing::SpreadTensor;
using testing::StepCase;

constexpr std::int64_t kChannels = 16;

HADAL_BACKEND_SUITE(LargeOffsetsTest);

/// Two sequences in slots 3 and 1 of four, with two pages each: every ring and page but the first lie far away.
const StepCase kStep{.sequences = {{.start = 200, .rows = 9, .slot = 3}, {.start = 190, .rows = 3, .slot = 1}},
                     .slots = 4,
                     .ring_rows = 8,
                     .pages_per_sequence = 2};

std::vector<History> histories(DType type, std::uint32_t seed, std::int64_t rows) {
  testing::RandomValues random(seed);
  return {random.normal(rows * kChannels, type), random.normal(rows * kChannels, type)};
}

TEST_P(LargeOffsetsTest, RowsAreGathered) {
  for (const DType type : product_types()) {
    testing::RandomValues random(1);
    const std::vector<double> values = random.normal(4 * kChannels, type);
    const SpreadTensor input(runner_.tensor(type, {4, kChannels}, values));
    const TensorView out = runner_.empty(type, {5, kChannels});
    runner_.run(gather_rows, {.input = input.view(), .index = runner_.i32({5}, {3, 0, 2, 3, 1}), .out = out});
    std::vector<double> expected;
    for (const std::ptrdiff_t row : {3, 0, 2, 3, 1}) {
      expected.insert(expected.end(), values.begin() + row * kChannels, values.begin() + (row + 1) * kChannels);
    }
    testing::expect_same(runner_.values(out), expected);
  }
}

// A table of 4 GiB and three rows, dense as every table is.
TEST_P(LargeOffsetsTest, TheLastRowsOfALargeTableAreEmbedded) {
  constexpr std::int64_t kWidth = 4096;
  constexpr std::int64_t kRows = (std::int64_t{1} << 32) / (2 * kWidth) + 3;
  const SparseMemory memory(2 * kWidth * kRows);
  const TensorView codes(memory.data(), DType::kBf16, {kRows, kWidth});
  testing::RandomValues random(2);
  const std::vector<double> values = random.normal(2 * kWidth, DType::kBf16);
  for (std::int64_t i = 0; i < kWidth; ++i) {
    store(codes, i, values[static_cast<std::size_t>(i)]);
    store(codes, (kRows - 1) * kWidth + i, values[static_cast<std::size_t>(kWidth + i)]);
  }
  const TensorView out = runner_.empty(DType::kF32, {3, 1, kWidth});
  const auto table = backend_->prepare({.codes = codes, .scales = {}});
  ASSERT_TRUE(table) << table.error().message;
  runner_.run(embedding, {.tokens = runner_.i64({3}, {kRows - 1, 0, kRows - 2}), .table = *table, .out = out});
  std::vector<double> expected(values.begin() + kWidth, values.end());
  expected.insert(expected.end(), values.begin(), values.begin() + kWidth);
  expected.resize(3 * kWidth, 0.0);  // a row that was never written
  testing::expect_same(runner_.values(out), expected);
}

TEST_P(LargeOffsetsTest, RingsAreWrittenAndRead) {
  for (const DType type : real_types()) {
    const std::vector<History> rows = histories(type, 3, 220);
    const TensorView dense =
        runner_.tensor(type, {kStep.slots, kStep.ring_rows, kChannels}, ring_of(kStep, rows, kChannels));
    const SpreadTensor spread(dense);
    const TensorView step = runner_.tensor(type, {kStep.rows(), kChannels}, step_rows(kStep, rows, kChannels));
    std::vector<std::vector<double>> previous;
    for (const TensorView& ring : {dense, spread.view()}) {
      const TensorView out = runner_.empty(type, {kStep.rows(), kChannels});
      runner_.run(previous_rows, {.rows = step, .ring = ring, .layout = layout_of(runner_, kStep), .out = out});
      previous.push_back(runner_.values(out));
      runner_.run(commit_rows, {.rows = step,
                                .ring = ring,
                                .count = runner_.i32({2}, {9, 2}),
                                .position_offset = 0,
                                .layout = layout_of(runner_, kStep)});
    }
    testing::expect_same(previous[1], previous[0]);
    StepCase after = kStep;
    after.sequences[0].start += 9;
    after.sequences[1].start += 2;
    testing::expect_same(runner_.values(spread.view()), ring_of(after, rows, kChannels));
  }
}

TEST_P(LargeOffsetsTest, PagesAreWritten) {
  for (const DType type : product_types()) {
    // Blocks of ratio 4 that end at positions 203 and 207 of the first sequence, 191 of the second.
    const std::vector<std::int64_t> last_row{3, 7, 10};
    testing::RandomValues random(4);
    const TensorView rows = runner_.tensor(type, {3, kChannels}, random.normal(3 * kChannels, type));
    const TensorView dense = runner_.empty(type, {kStep.page_count(), 32, kChannels});
    const SpreadTensor spread(dense);
    for (const TensorView& pages : {dense, spread.view()}) {
      runner_.run(append_entries, {.rows = rows,
                                   .last_row = runner_.i32({3}, last_row),
                                   .layout = layout_of(runner_, kStep),
                                   .ratio = 4,
                                   .pages = pages});
    }
    testing::expect_same(runner_.values(spread.view()), runner_.values(dense));
    // Entry 50 of the first sequence lies in its second page, the last of the four.
    const auto written = runner_.values(spread.view().rows(kStep.page(0, 1), 1));
    const auto given = runner_.values(rows);
    testing::expect_same({written.begin() + 18 * kChannels, written.begin() + 19 * kChannels},
                         {given.begin(), given.begin() + kChannels});
  }
}

TEST_P(LargeOffsetsTest, AttentionReadsRingsAndPages) {
  for (const DType type : product_types()) {
    const std::vector<History> keys = histories(type, 5, 220);
    const std::vector<History> entries = histories(type, 6, 52);
    testing::RandomValues random(7);
    const std::int64_t rows = kStep.rows();
    const DType sums = type == DType::kF64 ? DType::kF64 : DType::kF32;
    std::vector<std::int64_t> begin, end, selected;
    kStep.for_each_row([&](std::int64_t, std::size_t, std::int64_t position) {
      begin.push_back(position - kStep.ring_rows + 1);
      end.push_back(position + 1);
      for (const std::int64_t entry : {2, 31, 32, 46}) selected.push_back(entry);
    });
    const TensorView window =
        runner_.tensor(type, {kStep.slots, kStep.ring_rows, kChannels}, ring_of(kStep, keys, kChannels));
    const TensorView pages =
        runner_.tensor(type, {kStep.page_count(), 32, kChannels}, pages_of(kStep, entries, 4, kChannels));
    const SpreadTensor far_window(window);
    const SpreadTensor far_pages(pages);
    Attention::Args args{.query = runner_.tensor(type, {rows, 2, kChannels}, random.normal(rows * 2 * kChannels, type)),
                         .step_keys = runner_.tensor(type, {rows, kChannels}, step_rows(kStep, keys, kChannels)),
                         .window = window,
                         .window_begin = runner_.i64({rows}, begin),
                         .window_end = runner_.i64({rows}, end),
                         .pages = pages,
                         .selected = runner_.i32({rows, 4}, selected),
                         .sink = runner_.weight(DType::kF32, {2}, {0, 1}),
                         .layout = layout_of(runner_, kStep),
                         .ratio = 4,
                         .max_keys = 64,
                         .scale = 0.25,
                         .out = runner_.empty(sums, {rows, 2, kChannels})};
    for (const bool choose : {true, false}) {
      if (!choose) args.selected = {};
      args.window = window;
      args.pages = pages;
      runner_.run(attention, args);
      const std::vector<double> near = runner_.values(args.out);
      args.window = far_window.view();
      args.pages = far_pages.view();
      args.out = runner_.empty(sums, {rows, 2, kChannels});
      runner_.run(attention, args);
      testing::expect_same(runner_.values(args.out), near);
    }
  }
}

TEST_P(LargeOffsetsTest, TheIndexerReadsPages) {
  for (const DType type : product_types()) {
    const std::vector<History> entries = histories(type, 8, 52);
    testing::RandomValues random(9);
    const std::int64_t rows = kStep.rows();
    const DType sums = type == DType::kF64 ? DType::kF64 : DType::kF32;
    const TensorView pages =
        runner_.tensor(type, {kStep.page_count(), 32, kChannels}, pages_of(kStep, entries, 4, kChannels));
    const SpreadTensor far_pages(pages);
    IndexerSelect::Args args{
        .query = runner_.tensor(type, {rows, 2, kChannels}, random.normal(rows * 2 * kChannels, type)),
        .head_weights = runner_.tensor(sums, {rows, 2}, random.normal(rows * 2, sums)),
        .weight_scale = 0.5,
        .pages = pages,
        .layout = layout_of(runner_, kStep),
        .ratio = 4,
        .max_entries = 64,
        .selected = runner_.i32({rows, 8}, std::vector<std::int64_t>(static_cast<std::size_t>(rows * 8), -2))};
    runner_.run(indexer_select, args);
    const std::vector<std::int64_t> near = runner_.integers(args.selected);
    args.pages = far_pages.view();
    args.selected = runner_.i32({rows, 8}, std::vector<std::int64_t>(static_cast<std::size_t>(rows * 8), -2));
    runner_.run(indexer_select, args);
    EXPECT_EQ(runner_.integers(args.selected), near);
    EXPECT_GE(*std::min_element(near.begin(), near.end()), 0);
  }
}

// Positions around 2^16 and 2^20 choose window rows, entries and pages like the small ones with the same remainders.
TEST_P(LargeOffsetsTest, FarPositionsReadWhatNearOnesRead) {
  constexpr std::int64_t kRing = 8;
  for (const DType type : product_types()) {
    testing::RandomValues random(10);
    const DType sums = type == DType::kF64 ? DType::kF64 : DType::kF32;
    const TensorView window = runner_.tensor(type, {1, kRing, kChannels}, random.normal(kRing * kChannels, type));
    const TensorView pages = runner_.tensor(type, {2, 32, kChannels}, random.normal(64 * kChannels, type));
    const TensorView query = runner_.tensor(type, {1, 2, kChannels}, random.normal(2 * kChannels, type));
    const TensorView key = runner_.tensor(type, {1, kChannels}, random.normal(kChannels, type));
    // The row at `position` sees the ring and the last three entries, which lie in pages 0 and 1 of the pool.
    const auto attend = [&](std::int64_t position) {
      const std::int64_t entries = (position + 1) / 4;
      const std::int64_t page_count = position / 128 + 1;
      std::vector<std::int64_t> table(static_cast<std::size_t>(page_count), 0);
      table.back() = 1;
      const TensorView out = runner_.empty(sums, {1, 2, kChannels});
      runner_.run(attention, {.query = query,
                              .step_keys = key,
                              .window = window,
                              .window_begin = runner_.i64({1}, {position - kRing + 1}),
                              .window_end = runner_.i64({1}, {position + 1}),
                              .pages = pages,
                              .selected = runner_.i32({1, 3}, {entries - 3, entries - 2, entries - 1}),
                              .sink = runner_.weight(DType::kF32, {2}, {0, 1}),
                              .layout = {.positions = runner_.i64({1}, {position}),
                                         .sequence = runner_.i32({1}, {0}),
                                         .first_row = runner_.i32({1}, {0}),
                                         .start = runner_.i64({1}, {position}),
                                         .state_slot = runner_.i32({1}, {0}),
                                         .page_table = runner_.i32({1, page_count}, table)},
                              .ratio = 4,
                              .max_keys = 16,
                              .scale = 0.25,
                              .out = out});
      return runner_.values(out);
    };
    for (const std::int64_t offset : {130, 133, 140, 255}) {
      const std::vector<double> near = attend(offset);
      for (const std::int64_t far : {std::int64_t{1} << 16, std::int64_t{1} << 20, std::int64_t{1} << 24}) {
        testing::expect_same(attend(far - 256 + offset), near);
        testing::expect_same(attend(far + offset), near);
      }
    }
  }
}

}  // namespace
}  // namespace hadal::ops
