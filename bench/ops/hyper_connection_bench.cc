// Hyper-connections of Flash: 4 streams of 4096 channels.

#include "bench_support.h"
#include "ops/hc_post.h"
#include "ops/hc_pre.h"

namespace hadal::bench {
namespace {

constexpr std::int64_t kStreams = 4;
constexpr std::int64_t kHidden = 4096;

void hc_pre(benchmark::State& state) {
  const std::int64_t tokens = state.range(0);
  OperatorBench bench;
  bench.run(state, ops::hc_pre,
            {.streams = bench.random(DType::kF32, {tokens, kStreams, kHidden}),
             .fn = bench.random_weight(DType::kF32, {24, kStreams * kHidden}),
             .base = bench.random_weight(DType::kF32, {24}),
             .scale = bench.random_weight(DType::kF32, {3}),
             .input = bench.empty(DType::kF32, {tokens, kHidden}),
             .post = bench.empty(DType::kF32, {tokens, kStreams}),
             .comb = bench.empty(DType::kF32, {tokens, kStreams, kStreams}),
             .norm_eps = 1e-6,
             .hc_eps = 1e-6,
             .sinkhorn_iterations = 20});
  const auto rows = static_cast<double>(tokens);
  report(state, 24.0 * kStreams * kHidden * 4 + rows * (kStreams + 1) * kHidden * 4,
         rows * 2 * (24 + 2) * kStreams * kHidden, DType::kF32);
}
BENCHMARK(hc_pre)->Arg(1)->Arg(8)->Arg(16)->Arg(32)->Arg(512)->UseRealTime()->Unit(benchmark::kMicrosecond);

void hc_post(benchmark::State& state) {
  const std::int64_t tokens = state.range(0);
  OperatorBench bench;
  const TensorView post = bench.random(DType::kF32, {tokens, kStreams}, 0.1F);
  bench.run(state, ops::hc_post,
            {.sublayer_output = bench.random(DType::kF32, {tokens, kHidden}),
             .post = post,
             .comb = bench.random(DType::kF32, {tokens, kStreams, kStreams}, 0.2F),
             .streams = bench.random(DType::kF32, {tokens, kStreams, kHidden})});
  const auto rows = static_cast<double>(tokens);
  report(state, rows * (2 * kStreams + 1) * kHidden * 4, rows * 2 * (kStreams + 1) * kStreams * kHidden, DType::kF32);
}
BENCHMARK(hc_post)->Arg(1)->Arg(8)->Arg(512)->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace hadal::bench
