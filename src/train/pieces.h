#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "train/parameters.h"

namespace hadal::train {

/// A stretch of one tensor that one thread works on. Their borders depend on shapes alone.
struct TensorPiece {
  const Parameter* tensor = nullptr;
  std::int64_t begin = 0;  // element of the tensor
  std::int64_t count = 0;
};

inline constexpr std::int64_t kPieceElements = 1 << 14;

/// All tensors for which wanted(tensor), cut into pieces, in order.
[[nodiscard]] std::vector<TensorPiece> pieces_of(std::span<const Parameter> tensors, auto&& wanted) {
  std::vector<TensorPiece> pieces;
  for (const Parameter& tensor : tensors) {
    if (!wanted(tensor)) continue;
    for (std::int64_t begin = 0; begin < tensor.elements(); begin += kPieceElements) {
      pieces.push_back({&tensor, begin, std::min(kPieceElements, tensor.elements() - begin)});
    }
  }
  return pieces;
}

}  // namespace hadal::train
