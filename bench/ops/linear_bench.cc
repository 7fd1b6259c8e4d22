// Products of the CPU kernels at Flash's shapes, as shares of the limits measured in the same run.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cstdint>
#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/limits.h"
#include "base/thread_pool.h"
#include "tensor/scalar.h"

namespace hadal::cpu {
namespace {

/// Weights of one format: enough copies that decode finds none of them in cache.
struct Shape {
  const char* name;
  WeightFormat format;
  bool narrow;  // bf16 activations
  std::int64_t n;
  std::int64_t k;
};
constexpr Shape kShapes[] = {
    {"expert_gate_fp4", WeightFormat::kE2m1E8m0, true, 2048, 4096},
    {"expert_down_fp4", WeightFormat::kE2m1E8m0, true, 4096, 2048},
    {"wo_b_fp8", WeightFormat::kE4m3E8m0, true, 4096, 8192},
    {"wq_b_fp8", WeightFormat::kE4m3E8m0, true, 32768, 1024},
    {"wo_b_fp8_f32_scales", WeightFormat::kE4m3F32, true, 4096, 8192},
    {"head_bf16", WeightFormat::kBf16, true, 16384, 4096},
    {"hc_fn_f32", WeightFormat::kF32, false, 24, 16384},
    {"exact_fp4", WeightFormat::kE2m1E8m0, false, 2048, 4096},
    {"exact_fp8", WeightFormat::kE4m3E8m0, false, 4096, 8192},
    {"exact_bf16", WeightFormat::kBf16, false, 16384, 4096},
};
constexpr std::int64_t kArenaBytes = std::int64_t{768} << 20;
constexpr std::int64_t kMostRows = 512;

std::int64_t code_bytes(const Shape& shape) {
  switch (shape.format) {
    case WeightFormat::kF32:
      return shape.n * shape.k * 4;
    case WeightFormat::kBf16:
      return shape.n * shape.k * 2;
    case WeightFormat::kE2m1E8m0:
      return shape.n * shape.k / 2;
    default:
      return shape.n * shape.k;
  }
}

struct Machine {
  const KernelTable* kernels;
  ThreadPool pool;
  Limits limits;
  std::vector<std::uint64_t> arena;
  std::vector<std::uint8_t> scales;
  std::vector<float> f32_scales;
  std::vector<bf16> narrow;
  std::vector<float> wide;
  std::vector<float> y;
  std::vector<std::vector<std::byte>> scratch;

  Machine(const KernelTable* table, int threads) : kernels(table), pool(threads) {
    std::mt19937_64 random(1);
    arena.resize(kArenaBytes / 8);
    // Codes without NaN in any of the formats.
    for (std::uint64_t& word : arena) word = random() & 0xB7B7B7B7B7B7B7B7ULL;
    scales.assign(1 << 20, 120);
    f32_scales.assign(1 << 16, 0.01F);
    narrow.resize(kMostRows * 16384);
    wide.resize(narrow.size());
    for (std::size_t i = 0; i < wide.size(); ++i) {
      narrow[i] = to_bf16(static_cast<float>(static_cast<int>(random() % 255) - 127) / 64.0F);
      wide[i] = to_f32(narrow[i]);
    }
    y.resize(kMostRows * 32768);
    for (int i = 0; i < threads; ++i) {
      scratch.emplace_back(static_cast<std::size_t>(kernels->scratch_bytes(16384)) + 64);
    }
  }

  std::byte* scratch_of(int worker) {
    auto* data = scratch[static_cast<std::size_t>(worker)].data();
    void* address = data;
    std::size_t space = scratch[static_cast<std::size_t>(worker)].size();
    return static_cast<std::byte*>(std::align(64, space - 64, address, space));
  }

  void multiply(const Shape& shape, std::int64_t copy, std::int64_t rows) {
    const std::int64_t bytes = code_bytes(shape);
    const bool own_scales = shape.format == WeightFormat::kE4m3F32;
    const MatrixRef w{.format = shape.format,
                      .codes = arena.data() + copy * bytes / 8,
                      .row_bytes = bytes / shape.n,
                      .scales = own_scales ? static_cast<const void*>(f32_scales.data()) : scales.data(),
                      .scale_row_bytes = own_scales                                ? shape.k / 128 * 4
                                         : shape.format == WeightFormat::kE2m1E8m0 ? shape.k / 32
                                                                                   : shape.k / 128,
                      .n = shape.n,
                      .k = shape.k};
    pool.parallel_for(shape.n, 4, [&](std::int64_t begin, std::int64_t end, int worker) {
      if (shape.narrow) {
        kernels->multiply_bf16(narrow.data(), shape.k, rows, w, begin, end, y.data(), shape.n, scratch_of(worker));
      } else {
        kernels->multiply_f32(wide.data(), shape.k, rows, w, begin, end, y.data(), shape.n, scratch_of(worker));
      }
    });
  }
};

void run(benchmark::State& state, Machine& machine, const Shape& shape, std::int64_t rows) {
  const std::int64_t bytes = code_bytes(shape);
  const std::int64_t copies = kArenaBytes / bytes;
  std::int64_t copy = 0;
  for (auto _ : state) {
    machine.multiply(shape, copy, rows);
    copy = (copy + 1) % copies;
  }
  const double iterations = static_cast<double>(state.iterations());
  const double flops = 2.0 * static_cast<double>(rows * shape.n * shape.k) * iterations;
  const double read = static_cast<double>(bytes) * iterations;
  const Rate& peak = shape.narrow ? machine.limits.bf16 : machine.limits.f32;
  using benchmark::Counter;
  state.counters["GB/s"] = Counter(read / 1e9, Counter::kIsRate);
  state.counters["GFLOP/s"] = Counter(flops / 1e9, Counter::kIsRate);
  state.counters["%read"] = Counter(100.0 * read / machine.limits.read.all, Counter::kIsRate);
  state.counters["%peak"] = Counter(100.0 * flops / peak.all, Counter::kIsRate);
}

std::string rates(const Rate& rate) {
  return fmt::format("{:.1f} one thread, {:.1f} all", rate.one / 1e9, rate.all / 1e9);
}

int bench(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  const auto& table = kernels();
  if (!table) {
    fmt::print(stderr, "{}\n", table.error().message);
    return 2;
  }
  const auto machine = std::make_unique<Machine>(*table, available_processors());
  const auto limits = measure_limits(machine->pool, **table);
  if (!limits) {
    fmt::print(stderr, "{}\n", limits.error().message);
    return 2;
  }
  machine->limits = *limits;
  benchmark::AddCustomContext("isa", (*table)->isa);
  benchmark::AddCustomContext("threads", std::to_string(machine->pool.threads()));
  benchmark::AddCustomContext("read GB/s", rates(limits->read));
  benchmark::AddCustomContext("bf16 GFLOP/s", rates(limits->bf16));
  benchmark::AddCustomContext("f32 GFLOP/s", rates(limits->f32));
  for (const Shape& shape : kShapes) {
    for (const std::int64_t rows : {1, 2, 4, 8, 16, 64, 512}) {
      benchmark::RegisterBenchmark(
          fmt::format("{}/{}", shape.name, rows).c_str(),
          [&machine, &shape, rows](benchmark::State& state) { run(state, *machine, shape, rows); })
          ->UseRealTime()
          ->MinTime(0.1);
    }
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace hadal::cpu

int main(int argc, char** argv) { return hadal::cpu::bench(argc, argv); }
