#pragma once

#include <cstdint>

#include "tensor/tensor.h"

namespace hadal::ops {

/// Tokens that one page covers in every layer: a common multiple of the compress ratios.
inline constexpr std::int64_t kPageTokens = 128;

/// Which row of a step belongs to which sequence, and where that sequence's state lies. T query rows, S sequences.
/// All tensors are in the backend's memory; hosts know upper bounds only.
struct StepLayout {
  TensorView positions;   // [T] i64: absolute position of each query row
  TensorView sequence;    // [T] i32: index 0..S-1 of its sequence
  TensorView first_row;   // [S] i32: first row of the sequence in this step's row tensors (keys, compressor rows)
  TensorView start;       // [S] i64: position of that row; positions below it are read from the committed state
  TensorView state_slot;  // [S] i32: slot in the state pool's rings
  TensorView page_table;  // [S, P] i32: page of the tokens [128 i, 128 i + 128)
};

}  // namespace hadal::ops
