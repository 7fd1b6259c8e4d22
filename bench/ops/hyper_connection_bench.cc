// Hyper-connections of 4 streams: Flash's 4,096 channels, and nano's 256 with the many tokens of a training step.

#include "bench_support.h"
#include "ops/hc_head.h"
#include "ops/hc_post.h"
#include "ops/hc_pre.h"

namespace hadal::bench {
namespace {

constexpr std::int64_t kStreams = 4;
constexpr std::int64_t kMixes = 24;
constexpr std::int64_t kIterations = 20;

/// Rates for `floats` floats and `flops` operations a token, and the time of a token.
void report_tokens(benchmark::State& state, std::int64_t tokens, std::int64_t constants, std::int64_t floats,
                   std::int64_t flops) {
  const auto rows = static_cast<double>(tokens);
  report(state, 4 * (static_cast<double>(constants) + rows * static_cast<double>(floats)),
         rows * static_cast<double>(flops), DType::kF32);
  using benchmark::Counter;
  state.counters["a token"] =
      Counter(rows * static_cast<double>(state.iterations()), Counter::kIsRate | Counter::kInvert);
}

void hc_pre(benchmark::State& state) {
  const std::int64_t tokens = state.range(0);
  const std::int64_t hidden = state.range(1);
  OperatorBench bench;
  bench.run(state, ops::hc_pre,
            {.streams = bench.random(DType::kF32, {tokens, kStreams, hidden}),
             .fn = bench.random_weight(DType::kF32, {kMixes, kStreams * hidden}),
             .base = bench.random_weight(DType::kF32, {kMixes}),
             .scale = bench.random_weight(DType::kF32, {3}),
             .input = bench.empty(DType::kF32, {tokens, hidden}),
             .post = bench.empty(DType::kF32, {tokens, kStreams}),
             .comb = bench.empty(DType::kF32, {tokens, kStreams, kStreams}),
             .norm_eps = 1e-6,
             .hc_eps = 1e-6,
             .sinkhorn_iterations = kIterations});
  report_tokens(state, tokens, kMixes * kStreams * hidden, (kStreams + 1) * hidden,
                2 * (kMixes + 2) * kStreams * hidden);
}
BENCHMARK(hc_pre)
    ->ArgsProduct({{1, 8, 16, 32, 512}, {4096}})
    ->Args({8192, 256})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

void hc_post(benchmark::State& state) {
  const std::int64_t tokens = state.range(0);
  const std::int64_t hidden = state.range(1);
  OperatorBench bench;
  bench.run(state, ops::hc_post,
            {.sublayer_output = bench.random(DType::kF32, {tokens, hidden}),
             .post = bench.random(DType::kF32, {tokens, kStreams}, 0.1F),
             .comb = bench.random(DType::kF32, {tokens, kStreams, kStreams}, 0.2F),
             .streams = bench.random(DType::kF32, {tokens, kStreams, hidden})});
  report_tokens(state, tokens, 0, (2 * kStreams + 1) * hidden, 2 * (kStreams + 1) * kStreams * hidden);
}
BENCHMARK(hc_post)->ArgsProduct({{1, 8, 512}, {4096}})->Args({8192, 256})->UseRealTime()->Unit(benchmark::kMicrosecond);

void hc_pre_backward(benchmark::State& state) {
  const std::int64_t tokens = state.range(0);
  const std::int64_t hidden = state.range(1);
  OperatorBench bench;
  bench.run(state, ops::hc_pre_backward,
            {.streams = bench.random(DType::kF32, {tokens, kStreams, hidden}),
             .fn = bench.random_weight(DType::kF32, {kMixes, kStreams * hidden}),
             .base = bench.random_weight(DType::kF32, {kMixes}),
             .scale = bench.random_weight(DType::kF32, {3}),
             .d_input = bench.random(DType::kF32, {tokens, hidden}),
             .d_post = bench.random(DType::kF32, {tokens, kStreams}),
             .d_comb = bench.random(DType::kF32, {tokens, kStreams, kStreams}),
             .norm_eps = 1e-6,
             .hc_eps = 1e-6,
             .sinkhorn_iterations = kIterations,
             .d_streams = bench.empty(DType::kF32, {tokens, kStreams, hidden}),
             .d_fn = bench.empty(DType::kF32, {kMixes, kStreams * hidden}),
             .d_base = bench.empty(DType::kF32, {kMixes}),
             .d_scale = bench.empty(DType::kF32, {3})});
  report_tokens(state, tokens, 3 * kMixes * kStreams * hidden, (3 * kStreams + 1) * hidden,
                2 * (3 * kMixes + 4) * kStreams * hidden);
}
BENCHMARK(hc_pre_backward)->Args({512, 4096})->Args({8192, 256})->UseRealTime()->Unit(benchmark::kMicrosecond);

void hc_post_backward(benchmark::State& state) {
  const std::int64_t tokens = state.range(0);
  const std::int64_t hidden = state.range(1);
  OperatorBench bench;
  const TensorView d_streams = bench.random(DType::kF32, {tokens, kStreams, hidden});
  bench.run(state, ops::hc_post_backward,
            {.sublayer_output = bench.random(DType::kF32, {tokens, hidden}),
             .post = bench.random(DType::kF32, {tokens, kStreams}, 0.1F),
             .comb = bench.random(DType::kF32, {tokens, kStreams, kStreams}, 0.2F),
             .streams = bench.random(DType::kF32, {tokens, kStreams, hidden}),
             .d_streams_out = d_streams,
             .d_sublayer_output = bench.empty(DType::kF32, {tokens, hidden}),
             .d_post = bench.empty(DType::kF32, {tokens, kStreams}),
             .d_comb = bench.empty(DType::kF32, {tokens, kStreams, kStreams}),
             .d_streams = d_streams});
  report_tokens(state, tokens, 0, (3 * kStreams + 2) * hidden, 4 * (kStreams + 1) * kStreams * hidden);
}
BENCHMARK(hc_post_backward)->Args({512, 4096})->Args({8192, 256})->UseRealTime()->Unit(benchmark::kMicrosecond);

void hc_head_backward(benchmark::State& state) {
  const std::int64_t tokens = state.range(0);
  const std::int64_t hidden = state.range(1);
  OperatorBench bench;
  bench.run(state, ops::hc_head_backward,
            {.streams = bench.random(DType::kF32, {tokens, kStreams, hidden}),
             .fn = bench.random_weight(DType::kF32, {kStreams, kStreams * hidden}),
             .base = bench.random_weight(DType::kF32, {kStreams}),
             .scale = bench.random_weight(DType::kF32, {1}),
             .d_out = bench.random(DType::kF32, {tokens, hidden}),
             .norm_eps = 1e-6,
             .hc_eps = 1e-6,
             .d_streams = bench.empty(DType::kF32, {tokens, kStreams, hidden}),
             .d_fn = bench.empty(DType::kF32, {kStreams, kStreams * hidden}),
             .d_base = bench.empty(DType::kF32, {kStreams}),
             .d_scale = bench.empty(DType::kF32, {1})});
  report_tokens(state, tokens, 3 * kStreams * kStreams * hidden, (2 * kStreams + 1) * hidden,
                2 * (3 * kStreams + 4) * kStreams * hidden);
}
BENCHMARK(hc_head_backward)->Args({8192, 256})->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace hadal::bench
