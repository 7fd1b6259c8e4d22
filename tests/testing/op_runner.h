#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <type_traits>
#include <vector>

#include "ops/backend.h"

namespace hadal::testing {

/// Runs operators on one backend as a program does: tensors in the backend's memory, a plan, working memory of exactly
/// the planned size (filled with NaN), then the call and a wait. The memory lives as long as the runner.
class OpRunner {
 public:
  explicit OpRunner(ops::Backend& backend);

  [[nodiscard]] ops::Backend& backend() const { return backend_; }

  /// An f32, f64 or bf16 tensor with the values, rounded to the type. Each index of the outermost dimension is followed
  /// by `padding` elements of NaN that belong to nobody.
  [[nodiscard]] TensorView tensor(DType type, Shape shape, const std::vector<double>& values, std::int64_t padding = 0);
  /// The same, filled with NaN.
  [[nodiscard]] TensorView empty(DType type, Shape shape, std::int64_t padding = 0);
  [[nodiscard]] TensorView i32(Shape shape, const std::vector<std::int64_t>& values);
  [[nodiscard]] TensorView i64(Shape shape, const std::vector<std::int64_t>& values);

  /// An f32 or bf16 weight with the values. Like every weight here it lies at an odd address, as in a checkpoint.
  [[nodiscard]] ops::Weight weight(DType type, Shape shape, const std::vector<double>& values);
  [[nodiscard]] ops::Weight i64_weight(Shape shape, const std::vector<std::int64_t>& values);
  /// An FP8 or FP4 weight from its codes (a byte each; FP4: two codes) and scales (e8m0 bytes, or f32).
  [[nodiscard]] ops::Weight coded(DType type, Shape shape, const std::vector<std::uint8_t>& codes, DType scale_type,
                                  Shape scale_shape, const std::vector<double>& scales);

  /// The values of a tensor (strided or not) in row-major order.
  [[nodiscard]] std::vector<double> values(const TensorView& view);
  [[nodiscard]] std::vector<std::int64_t> integers(const TensorView& view);

  /// Calls a free function of ops/. Fails the test if it returns an error or lacks an implementation.
  template <class Args>
  void run(Status (*op)(ops::Stream&, const Args&), const std::type_identity_t<Args>& args) {
    ops::StepPlan plan;
    stream_->set_plan(&plan);
    const Status planned = op(*stream_, args);
    stream_->set_plan(nullptr);
    ASSERT_TRUE(planned.has_value()) << planned.error().message;
    ASSERT_TRUE(plan.unsupported.empty()) << plan.unsupported.front();
    prepare_scratch(plan.scratch_bytes);
    const Status status = op(*stream_, args);
    ASSERT_TRUE(status.has_value()) << status.error().message;
    stream_->wait();
  }

 private:
  [[nodiscard]] std::byte* allocate(std::int64_t bytes);
  [[nodiscard]] TensorView upload(DType type, Shape shape, const std::vector<std::byte>& bytes, std::int64_t stride);
  [[nodiscard]] TensorView host(DType type, Shape shape, const std::vector<std::byte>& bytes);
  [[nodiscard]] std::vector<std::byte> download(const TensorView& view);
  void prepare_scratch(std::int64_t bytes);

  ops::Backend& backend_;
  std::unique_ptr<ops::Stream> stream_;
  std::vector<Buffer> buffers_;
  std::deque<std::vector<std::byte>> host_memory_;
};

}  // namespace hadal::testing
