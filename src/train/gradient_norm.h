#pragma once

#include <array>

#include "base/thread_pool.h"
#include "train/parameters.h"

namespace hadal::train {

/// L2 norms of the gradients of a step.
struct GradientNorms {
  std::array<double, formats::kModelParts> parts{};  // by ModelPart; the indexer's tensors count as kIndexer
  double total = 0;                                  // of all but the indexer, whose objective is its own

  [[nodiscard]] bool finite() const;
  /// The factor that brings `total` down to `limit`, at most 1.
  [[nodiscard]] double clip_factor(double limit) const { return total > limit ? limit / total : 1; }
};

/// Sums squares in double, piece by piece in order, whatever the number of threads.
[[nodiscard]] GradientNorms gradient_norms(Parameters& parameters, ThreadPool& pool);

}  // namespace hadal::train
