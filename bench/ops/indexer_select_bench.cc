// The indexer of Flash for one token: 64 heads of 128 channels, bf16 entries, and the exact top 512 alone.

#include "ops/indexer_select.h"

#include "bench_support.h"

namespace hadal::bench {
namespace {

void indexer_select(benchmark::State& state) {
  constexpr std::int64_t kHeads = 64;
  constexpr std::int64_t kChannels = 128;
  const std::int64_t entries = state.range(0);
  OperatorBench bench;
  const ops::StepLayout layout = bench.layout(4 * entries - 1, 1);
  bench.run(state, ops::indexer_select,
            {.query = bench.random(DType::kBf16, {1, kHeads, kChannels}),
             .head_weights = bench.random(DType::kF32, {1, kHeads}),
             .weight_scale = 0.011,
             .pages = bench.random(DType::kBf16, {layout.page_table.extent(1), 32, kChannels}),
             .layout = layout,
             .ratio = 4,
             .max_entries = entries,
             .selected = bench.empty(DType::kI32, {1, 512})});
  report(state, static_cast<double>(entries) * kChannels * 2, static_cast<double>(entries) * kHeads * kChannels * 2,
         DType::kBf16);
}
BENCHMARK(indexer_select)->Arg(4096)->Arg(65536)->Arg(262144)->UseRealTime()->Unit(benchmark::kMicrosecond);

void select_top(benchmark::State& state) {
  const std::int64_t count = state.range(0);
  OperatorBench bench;
  const auto& kernels = static_cast<cpu::CpuBackend&>(bench.backend()).kernels();
  const TensorView scores = bench.random(DType::kF32, {count});
  const TensorView copy = bench.empty(DType::kF32, {count});
  const TensorView candidates = bench.empty(DType::kI32, {count});
  std::vector<std::int32_t> selected(512);
  for (auto _ : state) {
    std::memcpy(copy.bytes(), scores.bytes(), static_cast<std::size_t>(scores.byte_size()));
    kernels.select_top(copy.as<float>(), count, 512, selected.data(), candidates.as<std::uint32_t>());
    benchmark::DoNotOptimize(selected.data());
  }
  report(state, static_cast<double>(scores.byte_size()), 0, DType::kF32);
}
BENCHMARK(select_top)->Arg(4096)->Arg(65536)->Arg(262144)->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace hadal::bench
