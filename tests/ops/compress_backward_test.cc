#include "ops/backend_cases.h"
#include "ops/compress.h"
#include "ops/training_step.h"
#include "testing/compare.h"
#include "testing/gradient_check.h"

namespace hadal::ops {
namespace {

using testing::Blocks;
using testing::OpRunner;
using testing::StepCase;

HADAL_BACKEND_SUITE(CompressBackwardTest);

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

TEST_P(CompressBackwardTest, CentralDifferences) {
  if (!GetParam().f64) GTEST_SKIP() << "computes in f32 only";
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

}  // namespace
}  // namespace hadal::ops
