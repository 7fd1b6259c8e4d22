#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "base/check.h"
#include "base/thread_pool.h"
#include "ops/backend.h"
#include "ops/step_layout.h"

namespace hadal::bench {

/// Memory and working memory of one CPU backend with all processors; everything lives as long as the object.
class OperatorBench {
 public:
  OperatorBench()
      : backend_(cpu::CpuBackend::create(available_processors()).value()), stream_(backend_->create_stream()) {}

  [[nodiscard]] ops::Backend& backend() { return *backend_; }

  [[nodiscard]] std::byte* allocate(std::int64_t bytes) {
    buffers_.push_back(backend_->allocate(bytes).value());
    return buffers_.back().data();
  }
  [[nodiscard]] TensorView empty(DType type, Shape shape) {
    return TensorView(allocate(shape.elements() * size_of(type)), type, shape);
  }
  /// Values of about `deviation` from a fixed seed.
  [[nodiscard]] TensorView random(DType type, Shape shape, float deviation = 1) {
    const TensorView view = empty(type, shape);
    std::uniform_real_distribution<float> values(-deviation, deviation);
    for (std::int64_t i = 0; i < shape.elements(); ++i) store(view, i, values(engine_));
    return view;
  }
  [[nodiscard]] ops::Weight random_weight(DType type, Shape shape) {
    return {.codes = random(type, shape, 0.1F), .scales = {}};
  }
  /// An FP4 matrix [rows, columns] with scales around 2^-5.
  [[nodiscard]] ops::Weight fp4(std::int64_t rows, std::int64_t columns) {
    const TensorView codes = empty(DType::kE2m1x2, {rows, columns / 2});
    for (std::int64_t i = 0; i < codes.byte_size(); i += 8) {
      const std::uint64_t word = engine_();
      std::memcpy(codes.bytes() + i, &word, sizeof(word));
    }
    const TensorView scales = empty(DType::kE8m0, {rows, columns / 32});
    std::memset(scales.bytes(), 122, static_cast<std::size_t>(scales.byte_size()));
    return {.codes = codes, .scales = scales};
  }
  template <class T>
  [[nodiscard]] TensorView integers(DType type, Shape shape, const std::vector<T>& values) {
    const TensorView view = empty(type, shape);
    std::memcpy(view.bytes(), values.data(), values.size() * sizeof(T));
    return view;
  }
  /// One sequence whose rows [start, start + tokens) are this step's; pages lie in order.
  [[nodiscard]] ops::StepLayout layout(std::int64_t start, std::int64_t tokens) {
    std::vector<std::int64_t> positions;
    for (std::int64_t i = 0; i < tokens; ++i) positions.push_back(start + i);
    std::vector<std::int32_t> pages;
    for (std::int64_t i = 0; i * 128 < start + tokens; ++i) pages.push_back(static_cast<std::int32_t>(i));
    const auto page_count = static_cast<std::int64_t>(pages.size());
    return {.positions = integers(DType::kI64, {tokens}, positions),
            .sequence = empty(DType::kI32, {tokens}),
            .first_row = empty(DType::kI32, {1}),
            .start = integers<std::int64_t>(DType::kI64, {1}, {start}),
            .state_slot = empty(DType::kI32, {1}),
            .page_table = integers(DType::kI32, {1, page_count}, pages)};
  }

  /// Runs the operator once in every turn of the benchmark.
  template <class Args>
  void run(benchmark::State& state, Status (*op)(ops::Stream&, const Args&), const std::type_identity_t<Args>& args) {
    run_steps(state, op, 1, [&](std::int64_t) { return args; });
  }
  /// The same with the arguments of `steps` steps in turn; all need the same working memory.
  template <class Args>
  void run_steps(benchmark::State& state, Status (*op)(ops::Stream&, const Args&), std::int64_t steps,
                 auto&& args_of_step) {
    ops::StepPlan plan;
    stream_->set_plan(&plan);
    HADAL_CHECK(op(*stream_, args_of_step(0)).has_value() && plan.unsupported.empty(), "the operator takes the types");
    stream_->set_plan(nullptr);
    stream_->set_scratch(allocate(plan.scratch_bytes), plan.scratch_bytes);
    std::int64_t turn = 0;
    HADAL_CHECK(op(*stream_, args_of_step(0)).has_value(), "the operator runs");
    for (auto _ : state) HADAL_CHECK(op(*stream_, args_of_step(++turn % steps)).has_value(), "the operator runs");
  }

  [[nodiscard]] std::int64_t random_integer(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(engine_);
  }

 private:
  std::unique_ptr<cpu::CpuBackend> backend_;
  std::unique_ptr<ops::Stream> stream_;
  std::vector<Buffer> buffers_;
  std::mt19937_64 engine_{1};
};

/// Rates of one turn, and their shares of what this machine does at most: GB/s of memory that must be read or written,
/// GFLOP/s of 2 a multiplication. `type` names the inputs of the multiplications: bf16 or f32.
void report(benchmark::State& state, double bytes, double flops, DType type);

}  // namespace hadal::bench
