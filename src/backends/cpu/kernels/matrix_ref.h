#pragma once

#include <cstdint>

namespace hadal {
struct bf16;
}

namespace hadal::cpu {

/// How a weight matrix lies in an official checkpoint.
enum class WeightFormat : std::uint8_t {
  kF32,       // [n, k] float32
  kBf16,      // [n, k] bfloat16
  kE4m3E8m0,  // [n, k] E4M3 bytes; scales E8M0 [ceil(n / 128), ceil(k / 128)]
  kE4m3F32,   // [n, k] E4M3 bytes; scales float32 [ceil(n / 128), ceil(k / 128)]
  kE2m1E8m0,  // [n, k / 2] bytes, element 2c in the low nibble; scales E8M0 [n, k / 32]; k a multiple of 32
};

/// A weight matrix in place, of any alignment.
struct MatrixRef {
  WeightFormat format = WeightFormat::kF32;
  const void* codes = nullptr;
  std::int64_t row_bytes = 0;  // from one row of codes to the next
  const void* scales = nullptr;
  std::int64_t scale_row_bytes = 0;  // from one row of the scale tensor to the next
  std::int64_t n = 0;                // outputs
  std::int64_t k = 0;                // inputs
};

}  // namespace hadal::cpu
