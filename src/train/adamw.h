#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "train/parameters.h"
#include "train/pieces.h"

namespace hadal::train {

/// AdamW for the tensors of rules kAdam and kAdamDecay. With k the number of steps so far, g the scaled gradient:
///   m <- beta1 m + (1 - beta1) g,  v <- beta2 v + (1 - beta2) g^2,
///   W <- W (1 - lr decay) - lr (m / (1 - beta1^k)) / (sqrt(v / (1 - beta2^k)) + epsilon).
/// Bits do not depend on the number of threads. Source: spec/training.md 2.2.
class AdamW {
 public:
  struct Options {
    double beta1 = 0.9;
    double beta2 = 0.95;
    double epsilon = 1e-20;
    double weight_decay = 0.1;  // of kAdamDecay
  };

  AdamW(Parameters& parameters, const Options& options);

  /// Gradients are multiplied by `gradient_scale` first, but for the indexer's.
  void step(double learning_rate, double gradient_scale, ThreadPool& pool);

  /// State, for checkpoints: moments [number of elements] in the order of the tensors, without gaps.
  [[nodiscard]] std::span<float> first_moments() { return first_moments_; }
  [[nodiscard]] std::span<float> second_moments() { return second_moments_; }
  [[nodiscard]] std::int64_t steps() const { return steps_; }
  void set_steps(std::int64_t steps) { steps_ = steps; }

 private:
  Parameters& parameters_;
  Options options_;
  std::vector<TensorPiece> pieces_;
  std::vector<std::int64_t> offsets_;  // of each piece in the moments
  std::vector<float> first_moments_;
  std::vector<float> second_moments_;
  std::int64_t steps_ = 0;
};

}  // namespace hadal::train
