#include "ops/indexer_select.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "ops/backend_cases.h"
#include "ops/step_case.h"
#include "testing/compare.h"

namespace hadal::ops {
namespace {

using testing::History;
using testing::OpRunner;
using testing::StepCase;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

HADAL_BACKEND_SUITE(IndexerSelectTest);

struct Problem {
  std::int64_t heads;
  std::int64_t channels;
  std::int64_t topk;
  std::vector<History> queries;  // [positions, heads, channels]
  std::vector<History> weights;  // [positions, heads]
  std::vector<History> entries;  // [entries, channels]
};

std::vector<std::int64_t> select(OpRunner& runner, DType type, const StepCase& step, const Problem& problem) {
  const std::int64_t rows = step.rows();
  const DType sums = type == DType::kF64 ? DType::kF64 : DType::kF32;
  const TensorView selected =
      runner.i32({rows, problem.topk}, std::vector<std::int64_t>(static_cast<std::size_t>(rows * problem.topk), 99));
  runner.run(
      indexer_select,
      {.query = runner.tensor(type, {rows, problem.heads, problem.channels},
                              step_rows(step, problem.queries, problem.heads * problem.channels)),
       .head_weights = runner.tensor(sums, {rows, problem.heads}, step_rows(step, problem.weights, problem.heads)),
       .weight_scale = 0.5,
       .pages = runner.tensor(type, {step.page_count(), 32, problem.channels},
                              pages_of(step, problem.entries, 4, problem.channels), 3),
       .layout = layout_of(runner, step),
       .ratio = 4,
       .max_entries = step.pages_per_sequence * 32,
       .selected = selected});
  return runner.integers(selected);
}

/// The definition: sort all visible entries by (score descending, index ascending, NaN last).
std::vector<std::int64_t> expected(const Problem& problem, std::size_t s, std::int64_t position) {
  std::vector<double> scores;
  for (std::int64_t j = 0; j < (position + 1) / 4; ++j) {
    double score = 0;
    for (std::int64_t h = 0; h < problem.heads; ++h) {
      double product = 0;
      for (std::int64_t c = 0; c < problem.channels; ++c) {
        product += problem.queries[s][static_cast<std::size_t>((position * problem.heads + h) * problem.channels + c)] *
                   problem.entries[s][static_cast<std::size_t>(j * problem.channels + c)];
      }
      const double weight = 0.5 * problem.weights[s][static_cast<std::size_t>(position * problem.heads + h)];
      score += weight * (product < 0 ? 0 : product);
    }
    scores.push_back(score);
  }
  std::vector<std::int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    const double x = scores[static_cast<std::size_t>(a)];
    const double y = scores[static_cast<std::size_t>(b)];
    return std::isnan(y) ? !std::isnan(x) : x > y;
  });
  order.resize(std::min(order.size(), static_cast<std::size_t>(problem.topk)));
  std::sort(order.begin(), order.end());
  order.resize(static_cast<std::size_t>(problem.topk), -1);
  return order;
}

/// Small whole numbers: every score is exact in every type, and many are equal.
Problem whole_numbers(std::int64_t positions, std::size_t sequences) {
  testing::RandomValues random(81);
  Problem problem{.heads = 4, .channels = 8, .topk = 12, .queries = {}, .weights = {}, .entries = {}};
  const auto integers = [&](std::int64_t count, std::int64_t range) {
    History values;
    for (std::int64_t i = 0; i < count; ++i) values.push_back(static_cast<double>(random.integer(-range, range)));
    return values;
  };
  for (std::size_t s = 0; s < sequences; ++s) {
    problem.queries.push_back(integers(positions * problem.heads * problem.channels, 1));
    problem.weights.push_back(integers(positions * problem.heads, 2));
    problem.entries.push_back(integers(positions / 4 * problem.channels, 1));
  }
  return problem;
}

const StepCase kTwoSequences{.sequences = {{.start = 0, .rows = 90, .slot = 0}, {.start = 200, .rows = 160, .slot = 1}},
                             .slots = 2,
                             .ring_rows = 4,
                             .pages_per_sequence = 3};

TEST_P(IndexerSelectTest, ExactScoresWithManyTies) {
  const Problem problem = whole_numbers(384, 2);
  for (const DType type : product_types()) {
    const std::vector<std::int64_t> selected = select(runner_, type, kTwoSequences, problem);
    kTwoSequences.for_each_row([&](std::int64_t row, std::size_t s, std::int64_t position) {
      const auto begin = selected.begin() + row * problem.topk;
      ASSERT_EQ(std::vector<std::int64_t>(begin, begin + problem.topk), expected(problem, s, position))
          << "sequence " << s << " position " << position;
    });
  }
}

TEST_P(IndexerSelectTest, StepsDoNotChangeTheChoice) {
  testing::RandomValues random(82);
  for (const DType type : product_types()) {
    Problem problem = whole_numbers(384, 2);
    for (History& history : problem.queries) history = random.normal(static_cast<std::int64_t>(history.size()), type);
    for (History& history : problem.entries) history = random.normal(static_cast<std::int64_t>(history.size()), type);
    const std::vector<std::int64_t> whole = select(runner_, type, kTwoSequences, problem);
    std::vector<std::vector<std::int64_t>> parts(2);
    for (const StepCase& step : split(kTwoSequences, 31)) {
      const std::vector<std::int64_t> selected = select(runner_, type, step, problem);
      step.for_each_row([&](std::int64_t row, std::size_t s, std::int64_t) {
        const auto begin = selected.begin() + row * problem.topk;
        parts[s].insert(parts[s].end(), begin, begin + problem.topk);
      });
    }
    parts[0].insert(parts[0].end(), parts[1].begin(), parts[1].end());
    EXPECT_EQ(parts[0], whole);
  }
}

TEST_P(IndexerSelectTest, AllVisibleEntriesWithoutScoringWhenTheyFit) {
  // The entries are NaN: a score would not matter here, and none is needed.
  const StepCase step{.sequences = {{.start = 0, .rows = 12, .slot = 0}}, .slots = 1, .ring_rows = 1};
  for (const DType type : product_types()) {
    const Problem problem{.heads = 1,
                          .channels = 2,
                          .topk = 3,
                          .queries = {History(24, 1.0)},
                          .weights = {History(12, 1.0)},
                          .entries = {History(6, kNan)}};
    const std::vector<std::int64_t> selected = select(runner_, type, step, problem);
    for (std::int64_t position = 0; position < 12; ++position) {
      for (std::int64_t i = 0; i < 3; ++i) {
        EXPECT_EQ(selected[static_cast<std::size_t>(position * 3 + i)], i < (position + 1) / 4 ? i : -1);
      }
    }
  }
}

TEST_P(IndexerSelectTest, EqualScoresNanAndInfinity) {
  const StepCase step{.sequences = {{.start = 31, .rows = 1, .slot = 0}}, .slots = 1, .ring_rows = 1};
  const auto choose = [&](DType type, const History& entries) {
    History query(32, 1.0);
    const Problem problem{
        .heads = 1, .channels = 1, .topk = 3, .queries = {query}, .weights = {History(32, 1.0)}, .entries = {entries}};
    return select(runner_, type, step, problem);
  };
  for (const DType type : product_types()) {
    EXPECT_EQ(choose(type, {1, 1, 1, 1, 1, 1, 1, 1}), (std::vector<std::int64_t>{0, 1, 2}));
    // Negative products count as 0, so they tie with 0.
    EXPECT_EQ(choose(type, {-5, -1, 0, -7, 0, 2, -1, -1}), (std::vector<std::int64_t>{0, 1, 5}));
    EXPECT_EQ(choose(type, {kNan, 1, 2, kNan, kInfinity, 0, kNan, kNan}), (std::vector<std::int64_t>{1, 2, 4}));
    EXPECT_EQ(choose(type, {kNan, kNan, kNan, kNan, kNan, kNan, kNan, -1}), (std::vector<std::int64_t>{0, 1, 7}));
    EXPECT_EQ(choose(type, {kInfinity, 3, kInfinity, 2, -kInfinity, 0, 0, kInfinity}),
              (std::vector<std::int64_t>{0, 2, 7}));
  }
}

}  // namespace
}  // namespace hadal::ops
