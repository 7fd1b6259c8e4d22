// Gradients of row operators for the tokens of a training step of nano: 8,192 of 256 channels.

#include "bench_support.h"
#include "ops/add_position_bias.h"
#include "ops/cross_entropy.h"
#include "ops/gate.h"
#include "ops/gather_rows.h"
#include "ops/rms_norm.h"

namespace hadal::bench {
namespace {

constexpr std::int64_t kTokens = 8192;
constexpr std::int64_t kHidden = 256;

/// Memory rate for `floats` floats a token, and the time of a token.
void report_rows(benchmark::State& state, std::int64_t rows, std::int64_t floats) {
  report(state, 4.0 * static_cast<double>(rows * floats), 0, DType::kF32);
  using benchmark::Counter;
  state.counters["a token"] =
      Counter(static_cast<double>(rows) * static_cast<double>(state.iterations()), Counter::kIsRate | Counter::kInvert);
}

void rms_norm_backward(benchmark::State& state) {
  OperatorBench bench;
  bench.run(state, ops::rms_norm_backward,
            {.input = bench.random(DType::kF32, {kTokens, kHidden}),
             .weight = bench.random_weight(DType::kBf16, {kHidden}),
             .d_out = bench.random(DType::kF32, {kTokens, kHidden}),
             .eps = 1e-6,
             .d_input = bench.empty(DType::kF32, {kTokens, kHidden}),
             .d_weight = bench.empty(DType::kF32, {kHidden})});
  report_rows(state, kTokens, 3 * kHidden);
}
BENCHMARK(rms_norm_backward)->UseRealTime()->Unit(benchmark::kMicrosecond);

void add_position_bias_backward(benchmark::State& state) {
  OperatorBench bench;
  bench.run(state, ops::add_position_bias_backward,
            {.positions = bench.layout(0, kTokens).positions,
             .d_x = bench.random(DType::kF32, {kTokens, kHidden}),
             .d_bias = bench.empty(DType::kF32, {4, kHidden})});
  report_rows(state, kTokens, kHidden);
}
BENCHMARK(add_position_bias_backward)->UseRealTime()->Unit(benchmark::kMicrosecond);

void gather_rows_backward(benchmark::State& state) {
  OperatorBench bench;
  std::vector<std::int32_t> index;
  for (std::int64_t row = 0; row < kTokens; ++row) index.push_back(static_cast<std::int32_t>(kTokens - 1 - row));
  bench.run(state, ops::gather_rows_backward,
            {.d_out = bench.random(DType::kF32, {kTokens, kHidden}),
             .index = bench.integers(DType::kI32, {kTokens}, index),
             .d_input = bench.empty(DType::kF32, {kTokens, kHidden})});
  report_rows(state, kTokens, 2 * kHidden);
}
BENCHMARK(gather_rows_backward)->UseRealTime()->Unit(benchmark::kMicrosecond);

/// 32 experts, 4 chosen, with the balance loss of 16 sequences.
void gate_backward(benchmark::State& state) {
  constexpr std::int64_t kExperts = 32;
  constexpr std::int64_t kChosen = 4;
  OperatorBench bench;
  std::vector<std::int32_t> experts;
  std::vector<std::int32_t> sequence;
  for (std::int64_t token = 0; token < kTokens; ++token) {
    const std::int64_t first = bench.random_integer(0, kExperts - kChosen);
    for (std::int64_t slot = 0; slot < kChosen; ++slot) experts.push_back(static_cast<std::int32_t>(first + slot));
    sequence.push_back(static_cast<std::int32_t>(token / 512));
  }
  bench.run(state, ops::gate_backward,
            {.logits = bench.random(DType::kF32, {kTokens, kExperts}),
             .experts = bench.integers(DType::kI32, {kTokens, kChosen}, experts),
             .d_weights = bench.random(DType::kF32, {kTokens, kChosen}),
             .routed_scaling_factor = 2.5,
             .normalize = true,
             .sequence = bench.integers(DType::kI32, {kTokens}, sequence),
             .sequences = 16,
             .balance_weight = 1e-4,
             .balance_loss = bench.empty(DType::kF32, {16}),
             .d_logits = bench.empty(DType::kF32, {kTokens, kExperts})});
  report_rows(state, kTokens, 2 * kExperts + 2 * kChosen);
}
BENCHMARK(gate_backward)->UseRealTime()->Unit(benchmark::kMicrosecond);

/// A chunk of 1,024 rows over nano's vocabulary, in place.
void cross_entropy(benchmark::State& state) {
  constexpr std::int64_t kRows = 1024;
  constexpr std::int64_t kVocabulary = 6144;
  OperatorBench bench;
  const TensorView logits = bench.random(DType::kF32, {kRows, kVocabulary});
  std::vector<std::int32_t> targets;
  for (std::int64_t row = 0; row < kRows; ++row) {
    targets.push_back(static_cast<std::int32_t>(bench.random_integer(0, kVocabulary - 1)));
  }
  bench.run(state, ops::cross_entropy,
            {.logits = logits,
             .targets = bench.integers(DType::kI32, {kRows}, targets),
             .weight = 1.0 / kRows,
             .loss = bench.empty(DType::kF32, {kRows}),
             .d_logits = logits});
  report_rows(state, kRows, 2 * kVocabulary);
}
BENCHMARK(cross_entropy)->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace hadal::bench
