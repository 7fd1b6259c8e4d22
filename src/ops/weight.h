#pragma once

#include <cstdint>

#include "tensor/scale_blocks.h"
#include "tensor/tensor.h"

namespace hadal::ops {

/// A constant of the model in a backend's memory, in the layout of the official file (or what the backend made of it).
///   F32, BF16:  codes [rows, columns] (or any shape for small vectors), no scales
///   FP8:        codes e4m3 [rows, columns]; scales e8m0 | f32 [ceil(rows/128), ceil(columns/128)], value = code *
///   scale FP4:        codes e2m1x2 [rows, columns/2], element 2c in the low nibble; scales e8m0 [rows, columns/32]
/// Memory of any alignment; it outlives the model.
struct Weight {
  TensorView codes;
  TensorView scales = {};  // absent for F32 and BF16

  [[nodiscard]] std::int64_t rows() const { return codes.extent(0); }
  [[nodiscard]] std::int64_t columns() const {
    return codes.type() == DType::kE2m1x2 ? 2 * codes.extent(1) : codes.extent(1);
  }
};

/// True if every value of the weight is a bf16 number (but for values below bf16's normal range).
[[nodiscard]] inline bool is_exact_in_bf16(const Weight& weight) {
  return weight.codes.type() != DType::kF32 && (weight.scales.absent() || weight.scales.type() == DType::kE8m0);
}

/// The three projections of every routed expert of one layer; arrays of `count` weights owned by the model.
struct ExpertWeights {
  const Weight* gate = nullptr;  // w1 [inter, hidden]
  const Weight* up = nullptr;    // w3 [inter, hidden]
  const Weight* down = nullptr;  // w2 [hidden, inter]
  std::int64_t count = 0;
};

}  // namespace hadal::ops
