#include "tensor/tensor.h"

#include <fmt/core.h>

namespace hadal {

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (int i = 0; i < shape.rank(); ++i) text += fmt::format("{}{}", i == 0 ? "" : ", ", shape[i]);
  return text + "]";
}

std::string to_string(const TensorView& view) {
  return fmt::format("{} {}", name(view.type()), to_string(view.shape()));
}

namespace {

/// The address `bytes` further; a view without memory stays one.
std::byte* moved(std::byte* data, std::int64_t bytes) { return data == nullptr ? nullptr : data + bytes; }

Shape with_extent(const Shape& shape, int dimension, std::int64_t extent) {
  switch (shape.rank()) {
    case 1:
      return {extent};
    case 2:
      return dimension == 0 ? Shape{extent, shape[1]} : Shape{shape[0], extent};
    case 3:
      return dimension == 0 ? Shape{extent, shape[1], shape[2]} : Shape{shape[0], shape[1], extent};
    default:
      return dimension == 0 ? Shape{extent, shape[1], shape[2], shape[3]} : Shape{shape[0], shape[1], shape[2], extent};
  }
}

}  // namespace

TensorView TensorView::rows(std::int64_t begin, std::int64_t count) const {
  HADAL_CHECK(rank() >= 1 && begin >= 0 && count >= 0 && begin + count <= extent(0), "rows outside the view");
  return {moved(data_, begin * strides_[0] * size_of(type_)), type_, with_extent(shape_, 0, count), strides_};
}

TensorView TensorView::columns(std::int64_t begin, std::int64_t count) const {
  const int last = rank() - 1;
  HADAL_CHECK(rank() >= 1 && begin >= 0 && count >= 0 && begin + count <= extent(last), "columns outside the view");
  return {moved(data_, begin * size_of(type_)), type_, with_extent(shape_, last, count), strides_};
}

TensorView TensorView::reshaped(Shape shape) const {
  HADAL_CHECK(contiguous() && shape.elements() == elements(), "reshaping needs a contiguous view of as many elements");
  return {data_, type_, shape};
}

}  // namespace hadal
