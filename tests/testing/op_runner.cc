#include "testing/op_runner.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/check.h"

namespace hadal::testing {

namespace {

constexpr std::byte kPoison{0xFF};  // NaN in every floating-point type

std::vector<std::byte> encode(DType type, const std::vector<double>& values) {
  std::vector<std::byte> bytes(values.size() * static_cast<std::size_t>(size_of(type)));
  const TensorView view(bytes.data(), type, {static_cast<std::int64_t>(values.size())});
  for (std::size_t i = 0; i < values.size(); ++i) store(view, static_cast<std::int64_t>(i), values[i]);
  return bytes;
}

template <class E>
std::vector<std::byte> encode_integers(const std::vector<std::int64_t>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(E));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto value = static_cast<E>(values[i]);
    std::memcpy(bytes.data() + i * sizeof(E), &value, sizeof(E));
  }
  return bytes;
}

std::int64_t row_elements(const Shape& shape) { return shape[0] == 0 ? 0 : shape.elements() / shape[0]; }

}  // namespace

OpRunner::OpRunner(ops::Backend& backend) : backend_(backend), stream_(backend.create_stream()) {}

std::byte* OpRunner::allocate(std::int64_t bytes) {
  auto buffer = backend_.allocate(std::max<std::int64_t>(bytes, 1));
  HADAL_CHECK(buffer.has_value(), "the backend has no memory for the test");
  buffers_.push_back(std::move(*buffer));
  return buffers_.back().data();
}

TensorView OpRunner::upload(DType type, Shape shape, const std::vector<std::byte>& bytes, std::int64_t stride) {
  const std::int64_t rows = shape[0];
  const std::int64_t row_bytes = row_elements(shape) * size_of(type);
  const std::int64_t pitch = stride * size_of(type);
  std::vector<std::byte> padded(static_cast<std::size_t>(rows * pitch), kPoison);
  for (std::int64_t row = 0; row < rows; ++row) {
    std::memcpy(padded.data() + row * pitch, bytes.data() + row * row_bytes, static_cast<std::size_t>(row_bytes));
  }
  std::byte* memory = allocate(rows * pitch);
  stream_->upload(memory, padded.data(), rows * pitch);
  stream_->wait();
  const TensorView dense(memory, type, shape);
  std::array<std::int64_t, Shape::kMaxRank> strides{};
  for (int i = 0; i < shape.rank(); ++i) strides[static_cast<std::size_t>(i)] = dense.stride(i);
  if (shape.rank() > 1) strides[0] = stride;
  return {memory, type, shape, strides};
}

TensorView OpRunner::tensor(DType type, Shape shape, const std::vector<double>& values, std::int64_t padding) {
  HADAL_CHECK(static_cast<std::int64_t>(values.size()) == shape.elements(), "as many values as the shape has elements");
  return upload(type, shape, encode(type, values), row_elements(shape) + padding);
}

TensorView OpRunner::empty(DType type, Shape shape, std::int64_t padding) {
  const std::vector<std::byte> bytes(static_cast<std::size_t>(shape.elements() * size_of(type)), kPoison);
  return upload(type, shape, bytes, row_elements(shape) + padding);
}

TensorView OpRunner::i32(Shape shape, const std::vector<std::int64_t>& values) {
  return upload(DType::kI32, shape, encode_integers<std::int32_t>(values), row_elements(shape));
}

TensorView OpRunner::i64(Shape shape, const std::vector<std::int64_t>& values) {
  return upload(DType::kI64, shape, encode_integers<std::int64_t>(values), row_elements(shape));
}

TensorView OpRunner::host(DType type, Shape shape, const std::vector<std::byte>& bytes) {
  // A vector's memory is aligned, so its second byte is not.
  std::vector<std::byte>& memory = host_memory_.emplace_back(bytes.size() + 1);
  std::copy(bytes.begin(), bytes.end(), memory.begin() + 1);
  return {memory.data() + 1, type, shape};
}

ops::Weight OpRunner::weight(DType type, Shape shape, const std::vector<double>& values) {
  HADAL_CHECK(static_cast<std::int64_t>(values.size()) == shape.elements(), "as many values as the shape has elements");
  auto prepared = backend_.prepare({.codes = host(type, shape, encode(type, values)), .scales = {}});
  HADAL_CHECK(prepared.has_value(), "the backend takes the weight");
  return *prepared;
}

ops::Weight OpRunner::i64_weight(Shape shape, const std::vector<std::int64_t>& values) {
  auto prepared =
      backend_.prepare({.codes = host(DType::kI64, shape, encode_integers<std::int64_t>(values)), .scales = {}});
  HADAL_CHECK(prepared.has_value(), "the backend takes the weight");
  return *prepared;
}

ops::Weight OpRunner::coded(DType type, Shape shape, const std::vector<std::uint8_t>& codes, DType scale_type,
                            Shape scale_shape, const std::vector<double>& scales) {
  std::vector<std::byte> bytes(codes.size());
  std::memcpy(bytes.data(), codes.data(), codes.size());
  std::vector<std::byte> scale_bytes;
  if (scale_type == DType::kE8m0) {
    for (const double scale : scales) scale_bytes.push_back(static_cast<std::byte>(static_cast<int>(scale)));
  } else {
    scale_bytes = encode(scale_type, scales);
  }
  auto prepared =
      backend_.prepare({.codes = host(type, shape, bytes), .scales = host(scale_type, scale_shape, scale_bytes)});
  HADAL_CHECK(prepared.has_value(), "the backend takes the weight");
  return *prepared;
}

std::vector<std::byte> OpRunner::download(const TensorView& view) {
  const std::int64_t rows = view.extent(0);
  const std::int64_t row_bytes = row_elements(view.shape()) * size_of(view.type());
  std::vector<std::byte> bytes(static_cast<std::size_t>(rows * row_bytes));
  for (std::int64_t row = 0; row < rows; ++row) {
    stream_->download(bytes.data() + row * row_bytes, view.bytes() + row * view.stride(0) * size_of(view.type()),
                      row_bytes);
  }
  stream_->wait();
  return bytes;
}

std::vector<double> OpRunner::values(const TensorView& view) {
  std::vector<std::byte> bytes = download(view);
  const TensorView dense(bytes.data(), view.type(), {view.elements()});
  std::vector<double> values;
  for (std::int64_t i = 0; i < view.elements(); ++i) values.push_back(load<double>(dense, i));
  return values;
}

std::vector<std::int64_t> OpRunner::integers(const TensorView& view) {
  const std::vector<std::byte> bytes = download(view);
  std::vector<std::int64_t> values;
  for (std::int64_t i = 0; i < view.elements(); ++i) {
    const std::byte* address = bytes.data() + i * size_of(view.type());
    values.push_back(view.type() == DType::kI64 ? load_unaligned<std::int64_t>(address)
                                                : load_unaligned<std::int32_t>(address));
  }
  return values;
}

void OpRunner::prepare_scratch(std::int64_t bytes) {
  const std::vector<std::byte> poison(static_cast<std::size_t>(bytes), kPoison);
  std::byte* memory = bytes > 0 ? allocate(bytes) : nullptr;
  stream_->upload(memory, poison.data(), bytes);
  stream_->set_scratch(memory, bytes);
}

}  // namespace hadal::testing
