#include "ops/indexer_loss.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "ops/backend_cases.h"
#include "ops/reference/reference_backend.h"
#include "ops/training_step.h"
#include "testing/compare.h"
#include "testing/gradient_check.h"

namespace hadal::ops {
namespace {

using testing::Blocks;
using testing::OpRunner;
using testing::StepCase;

HADAL_BACKEND_SUITE(IndexerLossTest);
HADAL_REFERENCE_SUITE(IndexerLossReferenceTest);

constexpr std::int64_t kRatio = 4;
constexpr double kAttentionScale = 0.35;
constexpr double kWeightScale = 0.3;
const std::vector<std::int64_t> kLengths = {1, 3, 4, 127, 128, 129, 300};

/// One training step of the objective: all inputs as flat rows.
struct Problem {
  StepCase step;
  std::int64_t attention_heads;
  std::int64_t attention_channels;
  std::int64_t heads;
  std::int64_t channels;
  std::int64_t topk;  // 0: every visible entry
  std::int64_t chosen_topk;
  double row_weight;
  std::vector<double> attention_query;
  std::vector<double> attention_entries;
  std::vector<double> log_sum;
  std::vector<double> query;
  std::vector<double> head_weights;
  std::vector<double> entries;
  std::vector<std::int64_t> selected;
  std::vector<std::int64_t> chosen;

  [[nodiscard]] std::int64_t rows() const { return step.rows(); }
};

struct Outcome {
  std::vector<double> loss;
  std::vector<double> captured;
  std::vector<double> query;
  std::vector<double> head_weights;
  std::vector<double> entries;
};

/// Ascending choices of at most `topk` visible entries for each row, padded with -1.
std::vector<std::int64_t> choices(const StepCase& step, std::int64_t topk, std::uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::vector<std::int64_t> all;
  step.for_each_row([&](std::int64_t, std::size_t, std::int64_t position) {
    std::vector<std::int64_t> ids(static_cast<std::size_t>((position + 1) / kRatio));
    std::iota(ids.begin(), ids.end(), 0);
    std::shuffle(ids.begin(), ids.end(), engine);
    ids.resize(std::min(ids.size(), static_cast<std::size_t>(topk)));
    std::sort(ids.begin(), ids.end());
    ids.resize(static_cast<std::size_t>(topk), -1);
    all.insert(all.end(), ids.begin(), ids.end());
  });
  return all;
}

Problem make_problem(DType type, const std::vector<std::int64_t>& lengths, std::int64_t heads, std::int64_t channels,
                     std::int64_t topk) {
  testing::RandomValues random(95);
  const DType real = type == DType::kF64 ? DType::kF64 : DType::kF32;
  Problem problem{.step = testing::training_step(lengths),
                  .attention_heads = heads + 1,
                  .attention_channels = channels + 2,
                  .heads = heads,
                  .channels = channels,
                  .topk = topk,
                  .chosen_topk = 9,
                  .row_weight = 0.125,
                  .attention_query = {},
                  .attention_entries = {},
                  .log_sum = {},
                  .query = {},
                  .head_weights = {},
                  .entries = {},
                  .selected = {},
                  .chosen = {}};
  const std::int64_t rows = problem.rows();
  const std::int64_t blocks = Blocks(problem.step, kRatio).count();
  problem.attention_query = random.normal(rows * problem.attention_heads * problem.attention_channels, type);
  problem.attention_entries = random.normal(blocks * problem.attention_channels, type);
  problem.log_sum = random.normal(rows * problem.attention_heads, real);
  problem.query = random.normal(rows * heads * channels, type);
  problem.head_weights = random.normal(rows * heads, real);
  problem.entries = random.normal(blocks * channels, type);
  problem.selected = choices(problem.step, topk, 96);
  problem.chosen = choices(problem.step, problem.chosen_topk, 97);
  return problem;
}

Outcome run(ops::Backend& backend, DType type, const Problem& problem) {
  OpRunner runner(backend);
  const DType real = type == DType::kF64 ? DType::kF64 : DType::kF32;
  const std::int64_t rows = problem.rows();
  const Blocks blocks(problem.step, kRatio);
  const auto pages = [&](const std::vector<double>& entries, std::int64_t channels) {
    return runner.tensor(
        type, {problem.step.page_count(), 128 / kRatio, channels},
        pages_of(problem.step, histories_of(problem.step, kRatio, entries, channels), kRatio, channels), 3);
  };
  IndexerLoss::Args args{
      .attention_query =
          runner.tensor(type, {rows, problem.attention_heads, problem.attention_channels}, problem.attention_query),
      .attention_pages = pages(problem.attention_entries, problem.attention_channels),
      .log_sum = runner.tensor(real, {rows, problem.attention_heads}, problem.log_sum),
      .attention_scale = kAttentionScale,
      .query = runner.tensor(type, {rows, problem.heads, problem.channels}, problem.query),
      .head_weights = runner.tensor(real, {rows, problem.heads}, problem.head_weights),
      .weight_scale = kWeightScale,
      .pages = pages(problem.entries, problem.channels),
      .layout = layout_of(runner, problem.step),
      .ratio = kRatio,
      .max_entries = problem.step.pages_per_sequence * 128 / kRatio,
      .selected = {},
      .chosen = runner.i32({rows, problem.chosen_topk}, problem.chosen),
      .first_block = runner.i32({static_cast<std::int64_t>(blocks.first.size())}, blocks.first),
      .row_weight = problem.row_weight,
      .loss = runner.empty(real, {rows}),
      .captured = runner.empty(real, {rows}),
      .d_query = runner.empty(real, {rows, problem.heads, problem.channels}),
      .d_head_weights = runner.empty(real, {rows, problem.heads}),
      .d_entries = runner.empty(real, {blocks.count(), problem.channels})};
  if (problem.topk > 0) args.selected = runner.i32({rows, problem.topk}, problem.selected);
  runner.run(indexer_loss, args);
  return {.loss = runner.values(args.loss),
          .captured = runner.values(args.captured),
          .query = runner.values(args.d_query),
          .head_weights = runner.values(args.d_head_weights),
          .entries = runner.values(args.d_entries)};
}

double total(const Outcome& outcome, const Problem& problem) {
  return problem.row_weight * std::accumulate(outcome.loss.begin(), outcome.loss.end(), 0.0);
}

/// Loss and captured share of one row by the definition, in double.
std::pair<double, double> expected(const Problem& problem, std::int64_t row, std::int64_t first_block,
                                   std::int64_t position) {
  std::vector<std::int64_t> set;
  for (std::int64_t j = 0; problem.topk == 0 && j < (position + 1) / kRatio; ++j) set.push_back(j);
  for (std::int64_t i = 0; i < problem.topk; ++i) {
    const std::int64_t j = problem.selected[static_cast<std::size_t>(row * problem.topk + i)];
    if (j >= 0) set.push_back(j);
  }
  const auto product = [](const std::vector<double>& a, std::int64_t i, const std::vector<double>& b, std::int64_t j,
                          std::int64_t channels) {
    double sum = 0;
    for (std::int64_t c = 0; c < channels; ++c) {
      sum += a[static_cast<std::size_t>(i * channels + c)] * b[static_cast<std::size_t>(j * channels + c)];
    }
    return sum;
  };
  std::vector<double> p, q;
  for (const std::int64_t j : set) {
    double mass = 0;
    for (std::int64_t head = 0; head < problem.attention_heads; ++head) {
      const std::int64_t i = row * problem.attention_heads + head;
      mass += std::exp(kAttentionScale * product(problem.attention_query, i, problem.attention_entries, first_block + j,
                                                 problem.attention_channels) -
                       problem.log_sum[static_cast<std::size_t>(i)]);
    }
    double score = 0;
    for (std::int64_t head = 0; head < problem.heads; ++head) {
      const std::int64_t i = row * problem.heads + head;
      score += kWeightScale * problem.head_weights[static_cast<std::size_t>(i)] *
               std::max(0.0, product(problem.query, i, problem.entries, first_block + j, problem.channels));
    }
    p.push_back(mass);
    q.push_back(std::exp(score));
  }
  const double sum_p = std::accumulate(p.begin(), p.end(), 0.0);
  const double sum_q = std::accumulate(q.begin(), q.end(), 0.0);
  double loss = 0;
  double captured = 0;
  for (std::size_t j = 0; j < set.size(); ++j) {
    loss += p[j] / sum_p * std::log(p[j] / sum_p / (q[j] / sum_q));
    const auto begin = problem.chosen.begin() + row * problem.chosen_topk;
    if (std::count(begin, begin + problem.chosen_topk, set[j]) > 0) captured += p[j] / sum_p;
  }
  return {loss, captured};
}

TEST_P(IndexerLossTest, LossesAndSharesOfTheDefinition) {
  for (const DType type : product_types()) {
    for (const std::int64_t topk : {0, 7, 100}) {
      const Problem problem = make_problem(type, kLengths, 3, 8, topk);
      const Outcome outcome = run(*backend_, type, problem);
      const Blocks blocks(problem.step, kRatio);
      const double bound = type == DType::kF64 ? 1e-13 : 3e-6;
      problem.step.for_each_row([&](std::int64_t row, std::size_t s, std::int64_t position) {
        const auto [loss, captured] = expected(problem, row, blocks.first[s], position);
        ASSERT_NEAR(outcome.loss[static_cast<std::size_t>(row)], loss, bound * (1 + loss)) << "row " << row;
        ASSERT_NEAR(outcome.captured[static_cast<std::size_t>(row)], captured, bound) << "row " << row;
      });
    }
  }
}

TEST_P(IndexerLossReferenceTest, CentralDifferences) {
  for (const std::int64_t topk : {0, 7}) {
    const Problem problem = make_problem(DType::kF64, kLengths, 2, 6, topk);
    const Outcome outcome = run(*backend_, DType::kF64, problem);
    const auto expect = [&](const char* input, std::vector<double> Problem::* member,
                            const std::vector<double>& gradient) {
      testing::expect_gradient({.name = std::string("indexer_loss") + (topk > 0 ? " selected d_" : " d_") + input,
                                .type = DType::kF64,
                                .values = problem.*member,
                                .gradient = gradient,
                                .loss =
                                    [&](const std::vector<double>& values) {
                                      Problem other = problem;
                                      other.*member = values;
                                      return total(run(*backend_, DType::kF64, other), problem);
                                    },
                                .step = 0x1p-15,  // the products' kinks at 0 are farther
                                .samples = 12});
    };
    expect("query", &Problem::query, outcome.query);
    expect("head_weights", &Problem::head_weights, outcome.head_weights);
    expect("entries", &Problem::entries, outcome.entries);
  }
}

void expect_close(const Outcome& actual, const Outcome& expected, double tolerance, const std::string& name) {
  const auto check = [&](const char* part, const std::vector<double>& a, const std::vector<double>& b) {
    ASSERT_EQ(a.size(), b.size());
    EXPECT_LE(testing::relative_distance(a, b), tolerance) << name << " " << part;
  };
  check("loss", actual.loss, expected.loss);
  check("captured", actual.captured, expected.captured);
  check("d_query", actual.query, expected.query);
  check("d_head_weights", actual.head_weights, expected.head_weights);
  check("d_entries", actual.entries, expected.entries);
}

// A product within rounding of 0 may fall on either side of the kink: the tolerance leaves room for a few. Sequences
// longer than a chunk and sets of several groups of entries take part.
TEST_P(IndexerLossTest, AgreesWithTheReference) {
  if (GetParam().f64) GTEST_SKIP() << "is the reference";
  ReferenceBackend reference;
  for (const DType type : {DType::kF32, DType::kBf16}) {
    for (const std::int64_t topk : {0, 7, 170}) {
      for (const std::int64_t channels : {7, 32}) {
        const Problem problem = make_problem(type, {1, 5, 700, 129}, 3, channels, topk);
        expect_close(run(*backend_, type, problem), run(reference, type, problem), type == DType::kF32 ? 5e-5 : 2e-3,
                     "topk " + std::to_string(topk) + " channels " + std::to_string(channels));
      }
    }
  }
}

TEST_P(IndexerLossTest, ChoosingEverythingIsTheDenseStage) {
  for (const DType type : product_types()) {
    const Problem dense = make_problem(type, kLengths, 3, 8, 0);
    const Problem all = make_problem(type, kLengths, 3, 8, 75);  // 300 / 4 entries at most
    expect_close(run(*backend_, type, all), run(*backend_, type, dense), type == DType::kF64 ? 1e-13 : 1e-3, "");
  }
}

// The gradients of the scores of a row sum to 0: with a head whose products with all entries are equal, that sum is the
// gradient of its weight and of its query.
TEST_P(IndexerLossTest, GradientsOfARowsScoresSumToZero) {
  for (const DType type : product_types()) {
    for (const std::int64_t topk : {0, 7}) {
      Problem problem = make_problem(type, {300}, 2, 6, topk);
      for (std::size_t i = 0; i < problem.entries.size(); i += 6) problem.entries[i] = 2;
      for (std::size_t row = 0; row < 300; ++row) {
        for (std::size_t c = 0; c < 6; ++c) problem.query[row * 12 + c] = c == 0 ? 1 : 0;  // head 0: products of 2
      }
      const Outcome outcome = run(*backend_, type, problem);
      const double bound = type == DType::kF64 ? 1e-14 : 1e-6;
      double largest = 0;
      for (std::size_t row = 0; row < 300; ++row) {
        ASSERT_NEAR(outcome.head_weights[row * 2], 0, bound) << "row " << row;
        // The products take gradients of scores that are rounded to bf16.
        ASSERT_NEAR(outcome.query[row * 12], 0, type == DType::kBf16 ? 2e-3 : bound) << "row " << row;
        largest = std::max(largest, std::abs(outcome.head_weights[row * 2 + 1]));
      }
      EXPECT_GT(largest, 1e-2);  // the other head's
    }
  }
}

}  // namespace
}  // namespace hadal::ops
