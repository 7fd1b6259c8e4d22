#pragma once

#include <cstdint>
#include <initializer_list>
#include <type_traits>

#include "base/check.h"
#include "tensor/tensor.h"

namespace hadal::ops::reference {

/// True if one of the types is f64: the operator then computes in double, else in float.
[[nodiscard]] inline bool any_f64(std::initializer_list<DType> types) {
  for (const DType type : types) {
    if (type == DType::kF64) return true;
  }
  return false;
}

/// Element offset of row i (or of row i, j) of a strided view.
[[nodiscard]] inline std::int64_t offset_of(const TensorView& view, std::int64_t i) { return i * view.stride(0); }
[[nodiscard]] inline std::int64_t offset_of(const TensorView& view, std::int64_t i, std::int64_t j) {
  return i * view.stride(0) + j * view.stride(1);
}

/// One stored value as T.
template <class T>
[[nodiscard]] T widen(float value) {
  return static_cast<T>(value);
}
template <class T>
[[nodiscard]] T widen(double value) {
  return static_cast<T>(value);
}
template <class T>
[[nodiscard]] T widen(bf16 value) {
  return static_cast<T>(to_f32(value));
}

/// The bf16 number nearest to the value.
template <class T>
[[nodiscard]] T round_to_bf16(T value) {
  return widen<T>(to_bf16(round_to_odd(value)));
}

/// The value as a product with rows of type E takes it: rounded to bf16 where E is bf16.
template <class E, class T>
[[nodiscard]] T product_input(T value) {
  if constexpr (std::is_same_v<E, bf16>) {
    return round_to_bf16(value);
  } else {
    return value;
  }
}

/// Calls visitor(E{}) with the stored type of a floating-point tensor: float, double or bf16.
template <class Visitor>
void visit_type(DType type, Visitor&& visitor) {
  switch (type) {
    case DType::kF32:
      return visitor(float{});
    case DType::kF64:
      return visitor(double{});
    case DType::kBf16:
      return visitor(bf16{});
    default:
      HADAL_CHECK(false, "the tensor's type is not f32, f64 or bf16");
  }
}

/// Reads `count` elements of a floating-point tensor of any alignment, from element `offset` on.
template <class T>
void load_row(const TensorView& view, std::int64_t offset, std::int64_t count, T* out) {
  visit_type(view.type(), [&]<class E>(E) {
    const std::byte* address = view.bytes() + offset * size_of(view.type());
    for (std::int64_t i = 0; i < count; ++i) {
      out[i] = widen<T>(load_unaligned<E>(address + i * size_of(view.type())));
    }
  });
}

/// Writes `count` values as elements from `offset` on, each rounded once.
template <class T>
void store_row(const T* values, std::int64_t count, const TensorView& view, std::int64_t offset) {
  for (std::int64_t i = 0; i < count; ++i) store(view, offset + i, values[i]);
}

/// Adds `count` sums to elements from `offset` on, each result rounded once. An absent view takes none.
inline void add_row(const double* sums, std::int64_t count, const TensorView& view, std::int64_t offset) {
  if (view.absent()) return;
  for (std::int64_t i = 0; i < count; ++i) store(view, offset + i, load<double>(view, offset + i) + sums[i]);
}

}  // namespace hadal::ops::reference
