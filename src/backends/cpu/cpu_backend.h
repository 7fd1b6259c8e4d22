#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "backends/cpu/kernels/block_kernels.h"
#include "backends/cpu/kernels/kernel_table.h"
#include "backends/cpu/kernels/operator_kernels.h"
#include "base/result.h"
#include "base/thread_pool.h"
#include "ops/backend.h"

namespace hadal::cpu {

/// Operators on host memory: the SIMD kernels of one instruction set, shared out over a pool of threads. Streams run
/// at once on the thread that enqueues. Types: f32 and bf16 where an operator's header allows them, never f64.
class CpuBackend final : public ops::Backend {
 public:
  /// `threads` >= 1 counts the caller; `isa` names a kernel table ("generic", "avx2", "avx512"), "" takes HADAL_ISA or
  /// the best that the processor has. Errors: kInvalidArgument, kUnsupported (the processor lacks `isa`).
  [[nodiscard]] static Result<std::unique_ptr<CpuBackend>> create(int threads, std::string_view isa = "");

  [[nodiscard]] std::string_view name() const override { return "cpu"; }
  [[nodiscard]] std::string_view instruction_set() const override { return products_.isa; }
  [[nodiscard]] const ops::OpTable& ops() const override { return ops_; }
  [[nodiscard]] int workers() const override { return pool_.threads(); }
  [[nodiscard]] Result<Buffer> allocate(std::int64_t bytes) override;
  [[nodiscard]] std::unique_ptr<ops::Stream> create_stream() override;
  [[nodiscard]] Result<ops::Weight> prepare(const ops::Weight& host) override { return host; }

  [[nodiscard]] ThreadPool& pool() { return pool_; }
  [[nodiscard]] const KernelTable& products() const { return products_; }
  [[nodiscard]] const OperatorKernels& kernels() const { return kernels_; }
  [[nodiscard]] const BlockKernels& block_kernels() const { return block_kernels_; }

 private:
  CpuBackend(int threads, const KernelTable& products);

  const KernelTable& products_;
  const OperatorKernels& kernels_;
  const BlockKernels& block_kernels_;
  ops::OpTable ops_;
  ThreadPool pool_;
};

}  // namespace hadal::cpu
