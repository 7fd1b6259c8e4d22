#include "ops/attention.h"

#include <cmath>
#include <map>

#include "ops/backend_cases.h"
#include "ops/step_case.h"
#include "testing/compare.h"
#include "testing/golden_file.h"

namespace hadal::ops {
namespace {

using testing::History;
using testing::OpRunner;
using testing::StepCase;

constexpr std::int64_t kHeads = 3;
constexpr std::int64_t kChannels = 24;
constexpr std::int64_t kWindow = 16;

HADAL_BACKEND_SUITE(AttentionTest);

/// Everything that the queries of all positions may see.
struct Material {
  std::int64_t ratio = 0;
  std::int64_t topk = 0;  // 0: every visible entry
  std::vector<History> queries;
  std::vector<History> keys;
  std::vector<History> entries;
  std::vector<double> sink;

  [[nodiscard]] std::int64_t visible(std::int64_t position) const { return ratio == 0 ? 0 : (position + 1) / ratio; }
  /// Some ascending choice that depends on the position alone: the first topk odd entries, then -1.
  [[nodiscard]] std::vector<std::int64_t> selected(std::int64_t position) const {
    std::vector<std::int64_t> ids;
    for (std::int64_t j = 1; j < visible(position) && static_cast<std::int64_t>(ids.size()) < topk; j += 2) {
      ids.push_back(j);
    }
    ids.resize(static_cast<std::size_t>(topk), -1);
    return ids;
  }
};

/// The output of the operator, and its log_sum if somebody wants it.
std::vector<double> attend(OpRunner& runner, DType type, const StepCase& step, const Material& material,
                           std::vector<double>* log_sums = nullptr) {
  std::vector<double> queries;
  std::vector<std::int64_t> begin, end, selected;
  step.for_each_row([&](std::int64_t, std::size_t s, std::int64_t position) {
    const auto query = material.queries[s].begin() + position * kHeads * kChannels;
    queries.insert(queries.end(), query, query + kHeads * kChannels);
    begin.push_back(std::max<std::int64_t>(0, position - kWindow + 1));
    end.push_back(position + 1);
    const std::vector<std::int64_t> ids = material.selected(position);
    selected.insert(selected.end(), ids.begin(), ids.end());
  });
  const std::int64_t rows = step.rows();
  const DType sums = type == DType::kF64 ? DType::kF64 : DType::kF32;
  const TensorView out = runner.empty(sums, {rows, kHeads, kChannels});
  Attention::Args args{.query = runner.tensor(type, {rows, kHeads, kChannels}, queries),
                       .step_keys = runner.tensor(type, {rows, kChannels}, step_rows(step, material.keys, kChannels)),
                       .window = runner.tensor(type, {step.slots, step.ring_rows, kChannels},
                                               ring_of(step, material.keys, kChannels), 7),
                       .window_begin = runner.i64({rows}, begin),
                       .window_end = runner.i64({rows}, end),
                       .pages = {},
                       .selected = {},
                       .sink = runner.weight(DType::kF32, {kHeads}, material.sink),
                       .layout = layout_of(runner, step),
                       .ratio = material.ratio,
                       .max_keys = kWindow + 200,
                       .scale = 0.5,
                       .out = out};
  if (material.ratio > 0) {
    args.pages = runner.tensor(type, {step.page_count(), 128 / material.ratio, kChannels},
                               pages_of(step, material.entries, material.ratio, kChannels), 5);
  }
  if (material.topk > 0) args.selected = runner.i32({rows, material.topk}, selected);
  if (log_sums != nullptr) args.log_sum = runner.empty(sums, {rows, kHeads});
  runner.run(attention, args);
  if (log_sums != nullptr) *log_sums = runner.values(args.log_sum);
  return runner.values(out);
}

/// Checks one row against the formula in double. The bound follows the error of the scores, n eps sum |q||k|, through
/// the exponential: a relative error of every probability.
void check_row(const Material& material, std::size_t s, std::int64_t position, DType type,
               std::span<const double> actual, std::span<const double> log_sums) {
  std::vector<const double*> keys;
  for (std::int64_t p = std::max<std::int64_t>(0, position - kWindow + 1); p <= position; ++p) {
    keys.push_back(&material.keys[s][static_cast<std::size_t>(p * kChannels)]);
  }
  for (std::int64_t j = 0; material.topk == 0 && j < material.visible(position); ++j) {
    keys.push_back(&material.entries[s][static_cast<std::size_t>(j * kChannels)]);
  }
  for (const std::int64_t j : material.selected(position)) {
    if (j >= 0) keys.push_back(&material.entries[s][static_cast<std::size_t>(j * kChannels)]);
  }
  const double eps = type == DType::kF64 ? 0x1p-53 : 0x1p-24;
  for (std::int64_t head = 0; head < kHeads; ++head) {
    const double* query = &material.queries[s][static_cast<std::size_t>((position * kHeads + head) * kChannels)];
    std::vector<double> scores;
    double score_error = 0;
    double largest = 0;
    for (const double* key : keys) {
      double score = 0;
      double magnitude = 0;
      for (std::int64_t c = 0; c < kChannels; ++c) {
        score += query[c] * key[c];
        magnitude += std::abs(query[c] * key[c]);
        largest = std::max(largest, std::abs(key[c]));
      }
      scores.push_back(0.5 * score);
      score_error = std::max(score_error, (kChannels + 8) * eps * 0.5 * magnitude);
    }
    double maximum = material.sink[static_cast<std::size_t>(head)];
    for (const double score : scores) maximum = std::max(maximum, score);
    double sum = std::exp(material.sink[static_cast<std::size_t>(head)] - maximum);
    for (double& score : scores) sum += score = std::exp(score - maximum);
    const double log_sum = maximum + std::log(sum);
    ASSERT_LE(std::abs(log_sums[static_cast<std::size_t>(head)] - log_sum),
              score_error + (4 + std::abs(log_sum)) * 4 * eps)
        << "sequence " << s << " position " << position << " head " << head;
    const double bound = largest * (2 * score_error + 2 * static_cast<double>(keys.size() + 16) * eps);
    for (std::int64_t c = 0; c < kChannels; ++c) {
      double expected = 0;
      for (std::size_t j = 0; j < keys.size(); ++j) expected += scores[j] / sum * keys[j][c];
      const double value = actual[static_cast<std::size_t>(head * kChannels + c)];
      ASSERT_LE(std::abs(value - expected), bound) << "sequence " << s << " position " << position << " head " << head
                                                   << ": " << value << " instead of " << expected;
    }
  }
}

Material make_material(DType type, std::int64_t ratio, std::int64_t topk, std::int64_t length, std::size_t sequences) {
  testing::RandomValues random(61);
  Material material{.ratio = ratio, .topk = topk, .queries = {}, .keys = {}, .entries = {}, .sink = {-3, 0, 6}};
  for (std::size_t s = 0; s < sequences; ++s) {
    material.queries.push_back(random.normal(length * kHeads * kChannels, type));
    material.keys.push_back(random.normal(length * kChannels, type));
    material.entries.push_back(ratio == 0 ? History{} : random.normal(length / ratio * kChannels, type));
  }
  return material;
}

TEST_P(AttentionTest, Golden) {
  const testing::GoldenFile units("units.safetensors");
  const std::vector<double> keys = units.doubles("attend.keys");
  for (const DType type : product_types()) {
    const DType sums = type == DType::kF64 ? DType::kF64 : DType::kF32;
    // All 200 keys in the window: from this step, from the ring, or half and half.
    for (const std::int64_t start : {0, 200, 77}) {
      const StepCase step{
          .sequences = {{.start = start, .rows = 200 - start, .slot = 1}}, .slots = 2, .ring_rows = 256};
      const TensorView out = runner_.empty(sums, {1, 4, 512});
      StepLayout layout = layout_of(runner_, step);
      layout.positions = runner_.i64({1}, {199});
      layout.sequence = runner_.i32({1}, {0});
      runner_.run(attention, {.query = runner_.tensor(type, {1, 4, 512}, units.doubles("attend.query")),
                              .step_keys = runner_.tensor(type, {200 - start, 512}, step_rows(step, {keys}, 512)),
                              .window = runner_.tensor(type, {2, 256, 512}, ring_of(step, {keys}, 512)),
                              .window_begin = runner_.i64({1}, {0}),
                              .window_end = runner_.i64({1}, {200}),
                              .pages = {},
                              .selected = {},
                              .sink = runner_.weight(DType::kF32, {4}, units.doubles("attend.sink")),
                              .layout = layout,
                              .ratio = 0,
                              .max_keys = 200,
                              .scale = 1 / std::sqrt(512.0),
                              .out = out});
      testing::expect_golden(runner_.values(out), units.doubles("attend.output"), sums);
    }
  }
}

TEST_P(AttentionTest, ManySequencesAgreeWithTheFormula) {
  for (const DType type : product_types()) {
    for (const auto& [ratio, topk] :
         std::vector<std::pair<std::int64_t, std::int64_t>>{{0, 0}, {4, 0}, {4, 5}, {128, 0}}) {
      const Material material = make_material(type, ratio, topk, 300, 3);
      const StepCase step{.sequences = {{.start = 0, .rows = 20, .slot = 3},
                                        {.start = 127, .rows = 3, .slot = 0},
                                        {.start = 250, .rows = 10, .slot = 2}},
                          .slots = 4,
                          .ring_rows = kWindow + 6,
                          .pages_per_sequence = 3};
      std::vector<double> log_sums;
      const std::vector<double> out = attend(runner_, type, step, material, &log_sums);
      step.for_each_row([&](std::int64_t row, std::size_t s, std::int64_t position) {
        const auto size = static_cast<std::size_t>(kHeads * kChannels);
        const auto first = static_cast<std::size_t>(row);
        check_row(material, s, position, type, std::span(out).subspan(first * size, size),
                  std::span(log_sums).subspan(first * kHeads, kHeads));
      });
      testing::expect_same(attend(runner_, type, step, material), out);  // without log_sum the same bits
    }
  }
}

// The law: a row's bits do not depend on how the rows were cut into steps, hence neither on ring nor batch.
TEST_P(AttentionTest, BitsDoNotDependOnTheSteps) {
  for (const DType type : product_types()) {
    const Material material = make_material(type, 4, 5, 160, 2);
    const StepCase whole{.sequences = {{.start = 0, .rows = 60, .slot = 1}, {.start = 100, .rows = 50, .slot = 0}},
                         .slots = 2,
                         .ring_rows = kWindow,
                         .pages_per_sequence = 2};
    std::map<std::pair<std::size_t, std::int64_t>, std::vector<double>> rows;
    const auto note = [&](const StepCase& step, bool first) {
      const std::vector<double> out = attend(runner_, type, step, material);
      step.for_each_row([&](std::int64_t row, std::size_t s, std::int64_t position) {
        const auto begin = out.begin() + row * kHeads * kChannels;
        const std::vector<double> values(begin, begin + kHeads * kChannels);
        if (first) {
          rows[{s, position}] = values;
        } else {
          testing::expect_same(values, rows[{s, position}]);
        }
      });
    };
    note(whole, true);
    for (const std::int64_t piece : {1, 7, 16, 33}) {
      for (const StepCase& step : split(whole, piece)) note(step, false);
    }
  }
}

// A draft block: every row sees the whole ring and all rows of the block, without a mask.
TEST_P(AttentionTest, WindowsNeedNotEndAtTheRow) {
  for (const DType type : real_types()) {
    const TensorView out = runner_.empty(type, {2, 1, 1});
    const StepCase step{.sequences = {{.start = 2, .rows = 2, .slot = 0}}, .slots = 1, .ring_rows = 4};
    const std::vector<double> keys = {1, 2, 4, 8};
    runner_.run(attention, {.query = runner_.tensor(type, {2, 1, 1}, {0, 0}),
                            .step_keys = runner_.tensor(type, {2, 1}, step_rows(step, {keys}, 1)),
                            .window = runner_.tensor(type, {1, 4, 1}, ring_of(step, {keys}, 1)),
                            .window_begin = runner_.i64({2}, {0, 0}),
                            .window_end = runner_.i64({2}, {4, 4}),
                            .pages = {},
                            .selected = {},
                            .sink = runner_.weight(DType::kF32, {1}, {0}),
                            .layout = layout_of(runner_, step),
                            .ratio = 0,
                            .max_keys = 4,
                            .scale = 1,
                            .out = out});
    testing::expect_near(runner_.values(out), std::vector<double>{3, 3}, 0, 4 * testing::epsilon(type));
  }
}

// All scores equal the sink; a huge sink takes everything, a hugely negative one nothing; huge scores do not overflow.
TEST_P(AttentionTest, SinksAndScoresOfAnySize) {
  for (const DType type : real_types()) {
    const TensorView out = runner_.empty(type, {1, 5, 1});
    const StepCase step{.sequences = {{.start = 0, .rows = 2, .slot = 0}}, .slots = 1, .ring_rows = 2};
    StepLayout layout = layout_of(runner_, step);
    layout.positions = runner_.i64({1}, {1});
    layout.sequence = runner_.i32({1}, {0});
    runner_.run(attention, {.query = runner_.tensor(type, {1, 5, 1}, {0, 0, 0, 1000, -1000}),
                            .step_keys = runner_.tensor(type, {2, 1}, {1, 3}),
                            .window = runner_.empty(type, {1, 2, 1}),
                            .window_begin = runner_.i64({1}, {0}),
                            .window_end = runner_.i64({1}, {2}),
                            .pages = {},
                            .selected = {},
                            .sink = runner_.weight(DType::kF32, {5}, {0, 5000, -5000, 0, 0}),
                            .layout = layout,
                            .ratio = 0,
                            .max_keys = 2,
                            .scale = 1,
                            .out = out});
    testing::expect_near(runner_.values(out), std::vector<double>{4.0 / 3, 0, 2, 3, 0}, 0, 4 * testing::epsilon(type));
  }
}

}  // namespace
}  // namespace hadal::ops
