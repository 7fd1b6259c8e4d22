#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "ops/backend.h"
#include "tensor/buffer.h"
#include "train/parameters.h"

namespace hadal::train {

/// Muon for the matrices of rule kMuon. With G the scaled gradient of one matrix [a, b]:
///   M <- momentum M + G,  X = momentum M + G (Nesterov), divided by its Frobenius norm, transposed if a > b;
///   per Newton-Schulz step  A = X X^T,  X <- p X + (q A + r A A) X;
///   W <- W (1 - lr decay) - lr rms sqrt(max(a, b)) X.
/// A matrix whose gradient is exactly zero (an expert without tokens) keeps weights and momentum. Matrices of one shape
/// are worked on in batches; bits depend neither on the batch nor on the number of threads.
/// Source: DeepSeek-V4 report, algorithm 1; spec/training.md 2.1.
class Muon {
 public:
  enum class Steps : std::uint8_t {
    kHybrid,   // 8 with (3.4445, -4.7750, 2.0315), 2 with (2, -1.5, 0.5): singular values within 1.000-1.002
    kEconomy,  // 5 of the first kind: 0.7-1.2 for well-conditioned matrices, at half the cost
  };
  struct Options {
    double momentum = 0.95;
    double weight_decay = 0.1;
    double rms = 0.18;  // of an update's elements, so that AdamW's learning rates fit
    Steps steps = Steps::kHybrid;
    DType product = DType::kBf16;  // inputs of the products (sums in f32), or kF32
  };

  /// Takes the memory and plans the products. Errors: kUnimplemented (the backend has no matrix_product of that type),
  /// kResourceExhausted.
  [[nodiscard]] static Result<std::unique_ptr<Muon>> create(Parameters& parameters, const Options& options,
                                                            ops::Backend& backend);

  /// Gradients are multiplied by `gradient_scale` first, but for the indexer's. Errors: those of the products.
  [[nodiscard]] Status step(double learning_rate, double gradient_scale, ThreadPool& pool);
  /// Matrices left out by the last step because their gradient was zero.
  [[nodiscard]] std::int64_t skipped() const { return skipped_; }
  void set_steps(Steps steps) { options_.steps = steps; }

  /// State, for checkpoints: momentum of all kMuon tensors in their order, without gaps.
  [[nodiscard]] std::span<float> momentum() { return momentum_; }

 private:
  /// One logical matrix.
  struct Matrix {
    const Parameter* tensor = nullptr;
    std::size_t first = 0;     // of its elements in the flat arrays
    std::size_t momentum = 0;  // of its elements in momentum_
    std::int64_t rows = 0;
    std::int64_t columns = 0;
    [[nodiscard]] std::size_t elements() const { return static_cast<std::size_t>(rows * columns); }
  };
  /// All matrices of one shape.
  struct Group {
    std::int64_t rows = 0, columns = 0;
    std::vector<Matrix> matrices;
    [[nodiscard]] std::int64_t small() const { return std::min(rows, columns); }
    [[nodiscard]] std::int64_t large() const { return std::max(rows, columns); }
    [[nodiscard]] std::int64_t batch() const;  // most matrices worked on together
  };

  Muon(Parameters& parameters, const Options& options);
  [[nodiscard]] Status plan(ops::Backend& backend);
  [[nodiscard]] Status step_batch(const Group& group, std::span<const Matrix> batch, double learning_rate,
                                  double gradient_scale, ThreadPool& pool);
  [[nodiscard]] Status orthogonalize(std::int64_t count, std::int64_t small, std::int64_t large, ThreadPool& pool);
  [[nodiscard]] bool accumulate(const Matrix& matrix, float scale, float* direction);
  void apply(const Matrix& matrix, const float* direction, double learning_rate);

  Parameters& parameters_;
  Options options_;
  std::vector<Group> groups_;
  std::vector<float> momentum_;
  std::unique_ptr<ops::Stream> stream_;
  Buffer scratch_;
  Buffer x_, x_input_, gram_,
      gram_input_;  // [B, small, large] f32 and in the products' type; [B, small, small] likewise
  std::int64_t skipped_ = 0;
};

}  // namespace hadal::train
