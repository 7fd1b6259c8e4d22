#include "ops/backend_cases.h"
#include "ops/compress.h"
#include "ops/reference/reference_backend.h"
#include "ops/training_step.h"
#include "testing/compare.h"
#include "testing/gradient_check.h"

namespace hadal::ops {
namespace {

using testing::Blocks;
using testing::OpRunner;
using testing::StepCase;

HADAL_BACKEND_SUITE(CompressBackwardTest);
HADAL_REFERENCE_SUITE(CompressBackwardReferenceTest);

struct Problem {
  StepCase step;
  std::int64_t ratio;
  std::int64_t channels;
  bool overlap;
  std::vector<double> value;
  std::vector<double> gate;
  std::vector<double> d_out;

  [[nodiscard]] Shape rows() const { return {step.rows(), overlap ? 2 * channels : channels}; }
};

Problem make_problem(DType type, const std::vector<std::int64_t>& lengths, std::int64_t ratio, bool overlap,
                     std::int64_t channels) {
  testing::RandomValues random(93);
  Problem problem{.step = testing::training_step(lengths),
                  .ratio = ratio,
                  .channels = channels,
                  .overlap = overlap,
                  .value = {},
                  .gate = {},
                  .d_out = {}};
  problem.value = random.normal(problem.rows().elements(), type);
  problem.gate = random.normal(problem.rows().elements(), type, 2);
  problem.d_out = random.normal(Blocks(problem.step, ratio).count() * channels, type);
  return problem;
}

std::vector<double> forward(ops::Backend& backend, DType type, const Problem& problem) {
  OpRunner runner(backend);
  const Blocks blocks(problem.step, problem.ratio);
  const Shape ring{1, 2 * problem.ratio, problem.rows()[1]};
  const TensorView out = runner.empty(type, {blocks.count(), problem.channels});
  runner.run(compress, {.value = runner.tensor(type, problem.rows(), problem.value),
                        .gate = runner.tensor(type, problem.rows(), problem.gate),
                        .value_ring = runner.empty(type, ring),
                        .gate_ring = runner.empty(type, ring),
                        .last_row = runner.i32({blocks.count()}, blocks.last_row),
                        .layout = layout_of(runner, problem.step),
                        .ratio = problem.ratio,
                        .overlap = problem.overlap,
                        .out = out});
  return runner.values(out);
}

struct Gradients {
  std::vector<double> value;
  std::vector<double> gate;
};

Gradients backward(ops::Backend& backend, DType type, const Problem& problem) {
  OpRunner runner(backend);
  const Blocks blocks(problem.step, problem.ratio);
  const TensorView d_value = runner.empty(type, problem.rows());
  const TensorView d_gate = runner.empty(type, problem.rows());
  runner.run(compress_backward, {.value = runner.tensor(type, problem.rows(), problem.value),
                                 .gate = runner.tensor(type, problem.rows(), problem.gate),
                                 .last_row = runner.i32({blocks.count()}, blocks.last_row),
                                 .layout = layout_of(runner, problem.step),
                                 .ratio = problem.ratio,
                                 .overlap = problem.overlap,
                                 .d_out = runner.tensor(type, {blocks.count(), problem.channels}, problem.d_out),
                                 .d_value = d_value,
                                 .d_gate = d_gate});
  return {.value = runner.values(d_value), .gate = runner.values(d_gate)};
}

const std::vector<std::pair<std::int64_t, bool>> kRatios = {{4, true}, {4, false}, {128, false}};
const std::vector<std::int64_t> kLengths = {1, 3, 4, 127, 128, 129, 300};

TEST_P(CompressBackwardReferenceTest, CentralDifferences) {
  for (const auto& [ratio, overlap] : kRatios) {
    const Problem problem = make_problem(DType::kF64, kLengths, ratio, overlap, 3);
    const Gradients gradients = backward(*backend_, DType::kF64, problem);
    const auto expect = [&](const char* input, std::vector<double> Problem::* member,
                            const std::vector<double>& gradient) {
      testing::expect_gradient(
          {.name = "compress_backward ratio " + std::to_string(ratio) + (overlap ? " overlap d_" : " d_") + input,
           .type = DType::kF64,
           .values = problem.*member,
           .gradient = gradient,
           .loss = [&](const std::vector<double>& values) {
             Problem other = problem;
             other.*member = values;
             return testing::inner_product(forward(*backend_, DType::kF64, other), problem.d_out);
           }});
    };
    expect("value", &Problem::value, gradients.value);
    expect("gate", &Problem::gate, gradients.gate);
  }
}

TEST_P(CompressBackwardTest, AgreesWithTheF64Reference) {
  ReferenceBackend reference;
  for (const auto& [ratio, overlap] : kRatios) {
    for (const std::int64_t channels : {5, 128}) {
      const Problem problem = make_problem(DType::kF32, kLengths, ratio, overlap, channels);
      const Gradients actual = backward(*backend_, DType::kF32, problem);
      const Gradients expected = backward(reference, DType::kF64, problem);
      EXPECT_LE(testing::relative_distance(actual.value, expected.value), 1e-6) << "ratio " << ratio;
      EXPECT_LE(testing::relative_distance(actual.gate, expected.gate), 1e-6) << "ratio " << ratio;
    }
  }
}

// What takes part in no block: the rows behind the last whole block, and the last whole block's first half of channels.
TEST_P(CompressBackwardTest, NothingArrivesBehindTheLastBlock) {
  for (const DType type : real_types()) {
    const Problem problem = make_problem(type, {3, 10}, 4, true, 2);
    const Gradients gradients = backward(*backend_, type, problem);
    for (const std::vector<double>& gradient : {gradients.value, gradients.gate}) {
      for (std::int64_t row = 0; row < 13; ++row) {
        for (std::int64_t c = 0; c < 4; ++c) {
          const std::int64_t position = row - 3;  // in the second sequence; the first has no block
          const bool arrives = position >= 0 && position < 8 && (c >= 2 || position < 4);
          EXPECT_EQ(gradient[static_cast<std::size_t>(row * 4 + c)] != 0, arrives) << "row " << row << " channel " << c;
        }
      }
    }
  }
}

}  // namespace
}  // namespace hadal::ops
