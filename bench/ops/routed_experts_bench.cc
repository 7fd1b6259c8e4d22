// The routed mixture at Flash's width: one layer of 64 experts in FP4, 6 a token, bf16 activations.

#include "ops/routed_experts.h"

#include <algorithm>
#include <set>

#include "bench_support.h"

namespace hadal::bench {
namespace {

constexpr std::int64_t kHidden = 4096;
constexpr std::int64_t kInter = 2048;
constexpr std::int64_t kExperts = 64;
constexpr std::int64_t kChosen = 6;

void routed_experts(benchmark::State& state) {
  const std::int64_t tokens = state.range(0);
  OperatorBench bench;
  std::vector<ops::Weight> gate, up, down;
  for (std::int64_t expert = 0; expert < kExperts; ++expert) {
    gate.push_back(bench.fp4(kInter, kHidden));
    up.push_back(bench.fp4(kInter, kHidden));
    down.push_back(bench.fp4(kHidden, kInter));
  }
  // Several routings in turn, so that a decode step finds its experts in memory, not in a cache.
  constexpr std::int64_t kSteps = 8;
  std::vector<std::int32_t> chosen;
  double active = 0;
  for (std::int64_t step = 0; step < kSteps; ++step) {
    std::set<std::int32_t> of_step;
    for (std::int64_t token = 0; token < tokens; ++token) {
      std::set<std::int32_t> of_token;
      while (static_cast<std::int64_t>(of_token.size()) < kChosen) {
        of_token.insert(static_cast<std::int32_t>(bench.random_integer(0, kExperts - 1)));
      }
      chosen.insert(chosen.end(), of_token.begin(), of_token.end());
      of_step.insert(of_token.begin(), of_token.end());
    }
    active += static_cast<double>(of_step.size()) / kSteps;
  }
  const TensorView experts = bench.integers(DType::kI32, {kSteps * tokens, kChosen}, chosen);
  const TensorView input = bench.random(DType::kBf16, {kSteps * tokens, kHidden});
  const TensorView weights = bench.random(DType::kF32, {kSteps * tokens, kChosen});
  const TensorView out = bench.empty(DType::kF32, {kSteps * tokens, kHidden});
  const auto args = [&](std::int64_t step) {
    return ops::RoutedExperts::Args{
        .input = input.rows(step * tokens, tokens),
        .experts = experts.rows(step * tokens, tokens),
        .weights = weights.rows(step * tokens, tokens),
        .table = {.gate = gate.data(), .up = up.data(), .down = down.data(), .count = kExperts},
        .swiglu_limit = 10,
        .rounding = ops::Rounding::kNone,
        .out = out.rows(step * tokens, tokens)};
  };
  bench.run_steps(state, ops::routed_experts, kSteps, args);
  constexpr double kExpertBytes = 3.0 * kHidden * kInter * (0.5 + 1.0 / 32);
  report(state, active * kExpertBytes, 2.0 * 3 * kHidden * kInter * static_cast<double>(tokens * kChosen),
         DType::kBf16);
}
BENCHMARK(routed_experts)
    ->Arg(1)
    ->Arg(2)
    ->Arg(4)
    ->Arg(8)
    ->Arg(32)
    ->Arg(128)
    ->Arg(512)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace hadal::bench
