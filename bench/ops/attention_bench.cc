// Attention of a ratio-4 layer of Flash: 64 heads of 512 channels over 128 window keys and 512 selected entries, bf16.

#include "ops/attention.h"

#include "bench_support.h"

namespace hadal::bench {
namespace {

void attention(benchmark::State& state) {
  constexpr std::int64_t kHeads = 64;
  constexpr std::int64_t kChannels = 512;
  constexpr std::int64_t kWindow = 128;
  constexpr std::int64_t kTopk = 512;
  constexpr std::int64_t kStart = 8192;
  const std::int64_t tokens = state.range(0);
  OperatorBench bench;
  const ops::StepLayout layout = bench.layout(kStart, tokens);
  std::vector<std::int64_t> begin, end;
  std::vector<std::int32_t> selected;
  for (std::int64_t token = 0; token < tokens; ++token) {
    begin.push_back(kStart + token - kWindow + 1);
    end.push_back(kStart + token + 1);
    for (std::int64_t i = 0; i < kTopk; ++i) {
      selected.push_back(static_cast<std::int32_t>(4 * i + bench.random_integer(0, 3)));
    }
  }
  bench.run(state, ops::attention,
            {.query = bench.random(DType::kBf16, {tokens, kHeads, kChannels}),
             .step_keys = bench.random(DType::kBf16, {tokens, kChannels}),
             .window = bench.random(DType::kBf16, {1, kWindow, kChannels}),
             .window_begin = bench.integers(DType::kI64, {tokens}, begin),
             .window_end = bench.integers(DType::kI64, {tokens}, end),
             .pages = bench.random(DType::kBf16, {layout.page_table.extent(1), 32, kChannels}),
             .selected = bench.integers(DType::kI32, {tokens, kTopk}, selected),
             .sink = bench.random_weight(DType::kF32, {kHeads}),
             .layout = layout,
             .ratio = 4,
             .max_keys = kWindow + kTopk,
             .scale = 0.0442,
             .out = bench.empty(DType::kF32, {tokens, kHeads, kChannels})});
  constexpr double kKeys = kWindow + kTopk;
  report(state, static_cast<double>(tokens) * kKeys * kChannels * 2,
         static_cast<double>(tokens) * kKeys * kHeads * kChannels * 4, DType::kBf16);
}
BENCHMARK(attention)->Arg(1)->Arg(8)->Arg(64)->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace hadal::bench
