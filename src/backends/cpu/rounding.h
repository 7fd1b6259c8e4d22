#pragma once

#include <cstdint>

#include "backends/cpu/kernels/operator_kernels.h"
#include "ops/round_rows.h"

namespace hadal::cpu {

/// Quantises and dequantises n values in place, n a multiple of the block.
inline void round_blocks(const OperatorKernels& kernels, ops::Rounding rounding, float* values, std::int64_t n) {
  switch (rounding) {
    case ops::Rounding::kFp8Block128:
    case ops::Rounding::kFp8Block64:
      kernels.round_fp8(values, values, n, ops::block_length(rounding));
      return;
    case ops::Rounding::kFp4Block32:
      kernels.round_fp4(values, values, n, ops::block_length(rounding));
      return;
    case ops::Rounding::kNone:
      return;
  }
}

}  // namespace hadal::cpu
