#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/gemm.h"
#include "ops/weight.h"

namespace hadal::cpu {

/// Bytes that plain_operand() needs for a weight of this layout: 0 where it is f32 or bf16 already.
[[nodiscard]] std::int64_t plain_weight_bytes(const ops::Weight& weight);

/// The weight [rows, columns] as an operand of dense products: in place, or dequantised into `memory` on the backend's
/// pool, as bf16 where that is exact and as f32 where scales are f32.
[[nodiscard]] GemmOperand plain_operand(CpuBackend& backend, const ops::Weight& weight, std::byte* memory);

}  // namespace hadal::cpu
