#pragma once

#include <cstdint>
#include <string_view>

namespace hadal {

/// Element types. kE2m1x2 is a byte that holds two FP4 codes (element 2c in the low nibble); its shapes count bytes.
enum class DType : std::uint8_t { kF32, kF64, kBf16, kE4m3, kE8m0, kE2m1x2, kI8, kI32, kI64 };

/// Bytes of one element.
[[nodiscard]] constexpr std::int64_t size_of(DType type) {
  switch (type) {
    case DType::kF64:
    case DType::kI64:
      return 8;
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kBf16:
      return 2;
    case DType::kE4m3:
    case DType::kE8m0:
    case DType::kE2m1x2:
    case DType::kI8:
      return 1;
  }
  return 0;
}

[[nodiscard]] constexpr std::string_view name(DType type) {
  switch (type) {
    case DType::kF32:
      return "f32";
    case DType::kF64:
      return "f64";
    case DType::kBf16:
      return "bf16";
    case DType::kE4m3:
      return "e4m3";
    case DType::kE8m0:
      return "e8m0";
    case DType::kE2m1x2:
      return "e2m1x2";
    case DType::kI8:
      return "i8";
    case DType::kI32:
      return "i32";
    case DType::kI64:
      return "i64";
  }
  return "?";
}

}  // namespace hadal
