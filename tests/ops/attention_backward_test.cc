#include <algorithm>
#include <numeric>
#include <random>

#include "ops/attention.h"
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

HADAL_BACKEND_SUITE(AttentionBackwardTest);
HADAL_REFERENCE_SUITE(AttentionBackwardReferenceTest);

/// One training step of attention: all inputs as flat rows.
struct Problem {
  StepCase step;
  std::int64_t heads;
  std::int64_t channels;
  std::int64_t window;
  std::int64_t ratio;
  std::int64_t topk;  // 0: every visible entry
  double scale;
  std::vector<double> query;
  std::vector<double> keys;
  std::vector<double> entries;  // of all blocks, in order
  std::vector<double> sink;
  std::vector<double> d_out;
  std::vector<std::int64_t> selected;

  [[nodiscard]] std::int64_t rows() const { return step.rows(); }
  [[nodiscard]] std::int64_t max_keys() const {
    return window + (topk > 0 ? topk : ratio > 0 ? step.pages_per_sequence * 128 / ratio : 0);
  }
};

struct Shape4 {
  std::int64_t heads;
  std::int64_t channels;
  std::int64_t window;
};

/// Some ascending choice of at most `topk` of `visible` entries.
std::vector<std::int64_t> choose(std::mt19937_64& engine, std::int64_t visible, std::int64_t topk) {
  std::vector<std::int64_t> ids(static_cast<std::size_t>(visible));
  std::iota(ids.begin(), ids.end(), 0);
  std::shuffle(ids.begin(), ids.end(), engine);
  ids.resize(static_cast<std::size_t>(std::min(visible, topk)));
  std::sort(ids.begin(), ids.end());
  ids.resize(static_cast<std::size_t>(topk), -1);
  return ids;
}

Problem make_problem(DType type, const std::vector<std::int64_t>& lengths, Shape4 shape, std::int64_t ratio,
                     std::int64_t topk) {
  const auto [heads, channels, window] = shape;
  testing::RandomValues random(91);
  Problem problem{.step = testing::training_step(lengths),
                  .heads = heads,
                  .channels = channels,
                  .window = window,
                  .ratio = ratio,
                  .topk = topk,
                  .scale = 1 / std::sqrt(static_cast<double>(channels)),
                  .query = {},
                  .keys = {},
                  .entries = {},
                  .sink = {},
                  .d_out = {},
                  .selected = {}};
  const std::int64_t rows = problem.rows();
  const DType real = type == DType::kF64 ? DType::kF64 : DType::kF32;
  problem.query = random.normal(rows * heads * channels, type, 2);
  problem.keys = random.normal(rows * channels, type);
  if (ratio > 0) problem.entries = random.normal(Blocks(problem.step, ratio).count() * channels, type);
  problem.sink = random.normal(heads, DType::kF32);
  problem.d_out = random.normal(rows * heads * channels, real);
  std::mt19937_64 engine(92);
  problem.step.for_each_row([&](std::int64_t, std::size_t, std::int64_t position) {
    if (topk == 0) return;
    const std::vector<std::int64_t> ids = choose(engine, (position + 1) / ratio, topk);
    problem.selected.insert(problem.selected.end(), ids.begin(), ids.end());
  });
  return problem;
}

Attention::Args forward_args(OpRunner& runner, DType type, const Problem& problem) {
  const std::int64_t rows = problem.rows();
  const DType real = type == DType::kF64 ? DType::kF64 : DType::kF32;
  std::vector<std::int64_t> begin, end;
  problem.step.for_each_row([&](std::int64_t, std::size_t, std::int64_t position) {
    begin.push_back(std::max<std::int64_t>(0, position - problem.window + 1));
    end.push_back(position + 1);
  });
  Attention::Args args{.query = runner.tensor(type, {rows, problem.heads, problem.channels}, problem.query),
                       .step_keys = runner.tensor(type, {rows, problem.channels}, problem.keys),
                       .window = runner.empty(type, {1, 1, problem.channels}),
                       .window_begin = runner.i64({rows}, begin),
                       .window_end = runner.i64({rows}, end),
                       .pages = {},
                       .selected = {},
                       .sink = runner.weight(DType::kF32, {problem.heads}, problem.sink),
                       .layout = layout_of(runner, problem.step),
                       .ratio = problem.ratio,
                       .max_keys = problem.max_keys(),
                       .scale = problem.scale,
                       .out = runner.empty(real, {rows, problem.heads, problem.channels}),
                       .log_sum = runner.empty(real, {rows, problem.heads})};
  if (problem.ratio > 0) {
    args.pages = runner.tensor(
        type, {problem.step.page_count(), 128 / problem.ratio, problem.channels},
        pages_of(problem.step, histories_of(problem.step, problem.ratio, problem.entries, problem.channels),
                 problem.ratio, problem.channels),
        5);
  }
  if (problem.topk > 0) args.selected = runner.i32({rows, problem.topk}, problem.selected);
  return args;
}

struct Gradients {
  std::vector<double> query;
  std::vector<double> keys;
  std::vector<double> entries;
  std::vector<double> sink;
};

constexpr double kSinkBefore = 0.25;  // d_sink is added to

Gradients backward(ops::Backend& backend, DType type, const Problem& problem) {
  OpRunner runner(backend);
  const Attention::Args forward = forward_args(runner, type, problem);
  const DType real = forward.out.type();
  runner.run(attention, forward);
  const Blocks blocks(problem.step, std::max<std::int64_t>(1, problem.ratio));
  AttentionBackward::Args args{
      .query = forward.query,
      .step_keys = forward.step_keys,
      .window_begin = forward.window_begin,
      .window_end = forward.window_end,
      .pages = forward.pages,
      .selected = forward.selected,
      .sink = forward.sink,
      .layout = forward.layout,
      .ratio = forward.ratio,
      .max_keys = forward.max_keys,
      .scale = forward.scale,
      .out = forward.out,
      .log_sum = forward.log_sum,
      .d_out = runner.tensor(real, forward.query.shape(), problem.d_out),
      .first_block = {},
      .d_query = runner.empty(real, forward.query.shape()),
      .d_step_keys = runner.empty(real, forward.step_keys.shape()),
      .d_entries = {},
      .d_sink = runner.tensor(real, {problem.heads},
                              std::vector<double>(static_cast<std::size_t>(problem.heads), kSinkBefore))};
  if (problem.ratio > 0) {
    args.first_block = runner.i32({static_cast<std::int64_t>(blocks.first.size())}, blocks.first);
    args.d_entries = runner.empty(real, {blocks.count(), problem.channels});
  }
  runner.run(attention_backward, args);
  Gradients gradients{.query = runner.values(args.d_query),
                      .keys = runner.values(args.d_step_keys),
                      .entries = {},
                      .sink = runner.values(args.d_sink)};
  if (problem.ratio > 0) gradients.entries = runner.values(args.d_entries);
  for (double& value : gradients.sink) value -= kSinkBefore;
  return gradients;
}

const std::vector<std::pair<std::int64_t, std::int64_t>> kRatiosAndTopk = {{0, 0}, {4, 0}, {4, 6}, {128, 0}};
const std::vector<std::int64_t> kLengths = {1, 3, 4, 127, 128, 129, 300};
const std::vector<std::int64_t> kFewLengths = {5, 300};

TEST_P(AttentionBackwardReferenceTest, CentralDifferences) {
  for (const auto& [ratio, topk] : kRatiosAndTopk) {
    const Problem problem = make_problem(DType::kF64, kLengths, {2, 6, 20}, ratio, topk);
    const Gradients gradients = backward(*backend_, DType::kF64, problem);
    const auto expect = [&](const char* input, DType type, std::vector<double> Problem::* member,
                            const std::vector<double>& gradient) {
      testing::expect_gradient(
          {.name = "attention_backward ratio " + std::to_string(ratio) + (topk > 0 ? " selected d_" : " d_") + input,
           .type = type,
           .values = problem.*member,
           .gradient = gradient,
           .loss =
               [&](const std::vector<double>& values) {
                 Problem other = problem;
                 other.*member = values;
                 OpRunner runner(*backend_);
                 const Attention::Args args = forward_args(runner, DType::kF64, other);
                 runner.run(attention, args);
                 return testing::inner_product(runner.values(args.out), problem.d_out);
               },
           .samples = 6});
    };
    expect("query", DType::kF64, &Problem::query, gradients.query);
    expect("step_keys", DType::kF64, &Problem::keys, gradients.keys);
    if (ratio > 0) expect("entries", DType::kF64, &Problem::entries, gradients.entries);
    expect("sink", DType::kF32, &Problem::sink, gradients.sink);
  }
}

/// Every gradient against the reference's, which rounds where this one does: the order of sums differs, and with bf16
/// now and then a rounding.
void expect_close(const Gradients& actual, const Gradients& expected, double tolerance, const std::string& name) {
  const auto check = [&](const char* part, const std::vector<double>& a, const std::vector<double>& b) {
    ASSERT_EQ(a.size(), b.size());
    EXPECT_LE(testing::relative_distance(a, b), tolerance) << name << " d_" << part;
  };
  check("query", actual.query, expected.query);
  check("step_keys", actual.keys, expected.keys);
  check("entries", actual.entries, expected.entries);
  check("sink", actual.sink, expected.sink);
}

TEST_P(AttentionBackwardTest, AgreesWithTheReference) {
  if (GetParam().f64) GTEST_SKIP() << "is the reference";
  ReferenceBackend reference;
  for (const DType type : {DType::kF32, DType::kBf16}) {
    for (const auto& [ratio, topk] : kRatiosAndTopk) {
      for (const Shape4 shape : {Shape4{3, 7, 20}, Shape4{4, 64, 128}}) {
        const Problem problem = make_problem(type, shape.channels == 64 ? kFewLengths : kLengths, shape, ratio, topk);
        expect_close(backward(*backend_, type, problem), backward(reference, type, problem),
                     type == DType::kF32 ? 2e-6 : 1e-3,
                     "ratio " + std::to_string(ratio) + " topk " + std::to_string(topk) + " channels " +
                         std::to_string(shape.channels));
      }
    }
  }
}

// Rounding to bf16 costs what it must, and no more: against the f64 gradient of the same inputs.
TEST_P(AttentionBackwardTest, RoundingErrorOfBf16) {
  ReferenceBackend reference;
  for (const auto& [ratio, topk] : kRatiosAndTopk) {
    const Problem problem = make_problem(DType::kBf16, kLengths, {4, 32, 64}, ratio, topk);
    expect_close(backward(*backend_, DType::kBf16, problem), backward(reference, DType::kF64, problem), 6e-3,
                 "ratio " + std::to_string(ratio));
  }
}

// More rows than a chunk, whose sums meet at the keys: the window of one reaches into another, entries are seen by all.
TEST_P(AttentionBackwardTest, LongSequences) {
  ReferenceBackend reference;
  for (const auto& [ratio, topk] : kRatiosAndTopk) {
    const Problem problem = make_problem(DType::kF32, {1300, 40, 513}, {2, 8, 50}, ratio, topk);
    expect_close(backward(*backend_, DType::kF32, problem), backward(reference, DType::kF64, problem), 3e-6,
                 "ratio " + std::to_string(ratio) + " topk " + std::to_string(topk));
  }
}

TEST_P(AttentionBackwardTest, BitsDependOnTheSequenceAlone) {
  for (const DType type : {DType::kF32, DType::kBf16}) {
    for (const auto& [ratio, topk] : kRatiosAndTopk) {
      const std::int64_t channels = 16;
      const Problem alone = make_problem(type, {700}, {2, channels, 50}, ratio, topk);
      // The same sequence behind another one.
      Problem behind = make_problem(type, {131, 700}, {2, channels, 50}, ratio, topk);
      const auto replace_tail = [](auto& whole, const auto& tail) {
        std::copy(tail.begin(), tail.end(), whole.end() - static_cast<std::ptrdiff_t>(tail.size()));
      };
      replace_tail(behind.query, alone.query);
      replace_tail(behind.keys, alone.keys);
      replace_tail(behind.entries, alone.entries);
      replace_tail(behind.d_out, alone.d_out);
      replace_tail(behind.selected, alone.selected);
      behind.sink = alone.sink;
      const Gradients expected = backward(*backend_, type, alone);
      Gradients actual = backward(*backend_, type, behind);
      const auto keep_tail = [](std::vector<double>& whole, std::size_t size) {
        whole.erase(whole.begin(), whole.end() - static_cast<std::ptrdiff_t>(size));
      };
      keep_tail(actual.query, expected.query.size());
      keep_tail(actual.keys, expected.keys.size());
      keep_tail(actual.entries, expected.entries.size());
      testing::expect_same(actual.query, expected.query);
      testing::expect_same(actual.keys, expected.keys);
      testing::expect_same(actual.entries, expected.entries);
    }
  }
}

}  // namespace
}  // namespace hadal::ops
