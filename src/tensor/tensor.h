#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>

#include "base/check.h"
#include "tensor/dtype.h"
#include "tensor/scalar.h"

namespace hadal {

/// Extents of a tensor, outermost first; at most four.
class Shape {
 public:
  static constexpr int kMaxRank = 4;

  constexpr Shape() = default;
  constexpr Shape(std::initializer_list<std::int64_t> extents) {
    HADAL_CHECK(extents.size() <= kMaxRank, "a shape has at most four dimensions");
    for (const std::int64_t extent : extents) extents_[static_cast<std::size_t>(rank_++)] = extent;
  }

  [[nodiscard]] constexpr int rank() const { return rank_; }
  [[nodiscard]] constexpr std::int64_t operator[](int dimension) const {
    return extents_[static_cast<std::size_t>(dimension)];
  }
  [[nodiscard]] constexpr std::int64_t elements() const {
    std::int64_t product = 1;
    for (int i = 0; i < rank_; ++i) product *= extents_[static_cast<std::size_t>(i)];
    return product;
  }
  friend constexpr bool operator==(const Shape&, const Shape&) = default;

 private:
  std::array<std::int64_t, kMaxRank> extents_{};
  int rank_ = 0;
};

/// "[3, 128]".
[[nodiscard]] std::string to_string(const Shape& shape);

/// A view of memory that somebody else owns: address, type, extents and strides (in elements). The innermost
/// dimension is always contiguous. The address belongs to a backend: only a backend may look behind it. It may be
/// unaligned when it points into a checkpoint, so values are read by `load`.
class TensorView {
 public:
  TensorView() = default;
  TensorView(void* data, DType type, Shape shape) : data_(static_cast<std::byte*>(data)), type_(type), shape_(shape) {
    std::int64_t stride = 1;
    for (int i = shape.rank() - 1; i >= 0; --i) {
      strides_[static_cast<std::size_t>(i)] = stride;
      stride *= shape[i];
    }
  }
  TensorView(void* data, DType type, Shape shape, std::array<std::int64_t, Shape::kMaxRank> strides)
      : data_(static_cast<std::byte*>(data)), type_(type), shape_(shape), strides_(strides) {
    HADAL_CHECK(shape.rank() == 0 || strides[static_cast<std::size_t>(shape.rank() - 1)] == 1,
                "the innermost dimension of a view is contiguous");
  }

  /// True for a default-constructed view: an optional argument that was not given.
  [[nodiscard]] bool absent() const { return shape_.rank() == 0; }
  [[nodiscard]] std::byte* bytes() const { return data_; }
  [[nodiscard]] DType type() const { return type_; }
  [[nodiscard]] const Shape& shape() const { return shape_; }
  [[nodiscard]] int rank() const { return shape_.rank(); }
  [[nodiscard]] std::int64_t extent(int dimension) const { return shape_[dimension]; }
  [[nodiscard]] std::int64_t stride(int dimension) const { return strides_[static_cast<std::size_t>(dimension)]; }
  [[nodiscard]] std::int64_t elements() const { return shape_.elements(); }
  [[nodiscard]] std::int64_t byte_size() const { return elements() * size_of(type_); }  // of a contiguous view
  [[nodiscard]] bool contiguous() const {
    std::int64_t stride = 1;
    for (int i = shape_.rank() - 1; i >= 0; --i) {
      if (shape_[i] != 1 && strides_[static_cast<std::size_t>(i)] != stride) return false;
      stride *= shape_[i];
    }
    return true;
  }

  /// Typed address; T must be the view's element type (bytes for the 8-bit codes). Aligned memory only.
  template <class T>
  [[nodiscard]] T* as() const {
    return reinterpret_cast<T*>(data_);
  }
  /// The typed address of row `row` (index in the outermost dimension).
  template <class T>
  [[nodiscard]] T* row(std::int64_t row) const {
    return as<T>() + row * strides_[0];
  }

  /// Rows [begin, begin + count) of the outermost dimension.
  [[nodiscard]] TensorView rows(std::int64_t begin, std::int64_t count) const;
  /// Columns [begin, begin + count) of the innermost dimension.
  [[nodiscard]] TensorView columns(std::int64_t begin, std::int64_t count) const;
  /// The same memory under another shape; the view must be contiguous and the element counts equal.
  [[nodiscard]] TensorView reshaped(Shape shape) const;

 private:
  std::byte* data_ = nullptr;
  DType type_ = DType::kF32;
  Shape shape_;
  std::array<std::int64_t, Shape::kMaxRank> strides_{};
};

/// "bf16 [3, 128]".
[[nodiscard]] std::string to_string(const TensorView& view);

/// Reads one value from memory of any alignment.
template <class T>
[[nodiscard]] T load_unaligned(const void* address) {
  T value;
  std::memcpy(&value, address, sizeof(T));
  return value;
}

/// Element `index` of a contiguous f32, f64, bf16, e4m3 or e8m0 tensor of any alignment, as T (float or double).
template <class T>
[[nodiscard]] T load(const TensorView& view, std::int64_t index) {
  const std::byte* address = view.bytes() + index * size_of(view.type());
  switch (view.type()) {
    case DType::kF32:
      return static_cast<T>(load_unaligned<float>(address));
    case DType::kF64:
      return static_cast<T>(load_unaligned<double>(address));
    case DType::kBf16:
      return static_cast<T>(to_f32(load_unaligned<bf16>(address)));
    case DType::kE4m3:
      return static_cast<T>(e4m3_to_f32(load_unaligned<std::uint8_t>(address)));
    case DType::kE8m0:
      return static_cast<T>(e8m0_to_f32(load_unaligned<std::uint8_t>(address)));
    default:
      HADAL_CHECK(false, "load() of a type that is not a number");
  }
}

/// Writes `value` as element `index` of a contiguous f32, f64 or bf16 tensor, rounded once, to nearest even.
template <class T>
void store(const TensorView& view, std::int64_t index, T value) {
  std::byte* address = view.bytes() + index * size_of(view.type());
  switch (view.type()) {
    case DType::kF32: {
      const auto rounded = static_cast<float>(value);
      std::memcpy(address, &rounded, sizeof(rounded));
      return;
    }
    case DType::kF64: {
      const auto rounded = static_cast<double>(value);
      std::memcpy(address, &rounded, sizeof(rounded));
      return;
    }
    case DType::kBf16: {
      const bf16 rounded = to_bf16(round_to_odd(value));
      std::memcpy(address, &rounded, sizeof(rounded));
      return;
    }
    default:
      HADAL_CHECK(false, "store() into a type that is not f32, f64 or bf16");
  }
}

}  // namespace hadal
