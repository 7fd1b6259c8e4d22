#include "bench_support.h"

#include "backends/cpu/limits.h"

namespace hadal::bench {
namespace {

cpu::Limits g_limits;  // measured before the first benchmark

}  // namespace

void report(benchmark::State& state, double bytes, double flops, DType type) {
  using benchmark::Counter;
  const auto turns = static_cast<double>(state.iterations());
  const cpu::Rate& peak = type == DType::kBf16 ? g_limits.bf16 : g_limits.f32;
  state.counters["GB/s"] = Counter(bytes * turns * 1e-9, Counter::kIsRate);
  state.counters["%read"] = Counter(100 * bytes * turns / g_limits.read.all, Counter::kIsRate);
  if (flops == 0) return;
  state.counters["GFLOP/s"] = Counter(flops * turns * 1e-9, Counter::kIsRate);
  state.counters["%peak"] = Counter(100 * flops * turns / peak.all, Counter::kIsRate);
}

}  // namespace hadal::bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  const auto backend = hadal::cpu::CpuBackend::create(hadal::available_processors()).value();
  const auto limits = hadal::cpu::measure_limits(backend->pool(), backend->products());
  HADAL_CHECK(limits.has_value(), "1 GiB of memory for the limits");
  hadal::bench::g_limits = *limits;
  benchmark::AddCustomContext("read GB/s", std::to_string(limits->read.all * 1e-9));
  benchmark::AddCustomContext("bf16 GFLOP/s", std::to_string(limits->bf16.all * 1e-9));
  benchmark::AddCustomContext("f32 GFLOP/s", std::to_string(limits->f32.all * 1e-9));
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
