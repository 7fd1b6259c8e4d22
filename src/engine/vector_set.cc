#include "engine/vector_set.h"

#include <fmt/core.h>

namespace hadal::engine {
namespace {

TensorView view_of(const formats::HostTensor& tensor) {
  return {const_cast<std::byte*>(tensor.data), tensor.type, tensor.shape};
}

}  // namespace

std::byte* VectorSet::add(const std::string& name, DType type, Shape shape) {
  Entry& entry = tensors_[name];
  if (entry.bytes.empty()) {
    entry.type = type;
    entry.shape = shape;
    entry.bytes.resize(static_cast<std::size_t>(shape.elements() * size_of(type)));
  }
  return entry.bytes.data();
}

Result<formats::HostTensor> VectorSet::tensor(std::string_view name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) return fail(ErrorCode::kNotFound, fmt::format("nothing was recorded as '{}'", name));
  const Entry& entry = found->second;
  return formats::HostTensor{.data = entry.bytes.data(),
                             .type = entry.type,
                             .shape = entry.shape,
                             .bytes = static_cast<std::int64_t>(entry.bytes.size())};
}

std::vector<std::string> VectorSet::names() const {
  std::vector<std::string> names;
  names.reserve(tensors_.size());
  for (const auto& [name, entry] : tensors_) names.push_back(name);
  return names;
}

Result<std::vector<std::int64_t>> integers(const formats::WeightSource& source, std::string_view name) {
  HADAL_ASSIGN(const formats::HostTensor tensor, source.tensor(name));
  std::vector<std::int64_t> values(static_cast<std::size_t>(tensor.shape.elements()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (tensor.type == DType::kI64) {
      values[i] = load_unaligned<std::int64_t>(tensor.data + 8 * i);
    } else if (tensor.type == DType::kI32) {
      values[i] = load_unaligned<std::int32_t>(tensor.data + 4 * i);
    } else {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("{}: tensor '{}' should hold integers (I32 or I64), but its type is {}",
                              source.description(), name, hadal::name(tensor.type)));
    }
  }
  return values;
}

Result<std::vector<float>> reals(const formats::WeightSource& source, std::string_view name) {
  HADAL_ASSIGN(const formats::HostTensor tensor, source.tensor(name));
  if (tensor.type != DType::kF32 && tensor.type != DType::kF64 && tensor.type != DType::kBf16) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: tensor '{}' should hold numbers (F32, F64 or BF16), but its type is {}",
                            source.description(), name, hadal::name(tensor.type)));
  }
  std::vector<float> values(static_cast<std::size_t>(tensor.shape.elements()));
  const TensorView view = view_of(tensor);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = load<float>(view, static_cast<std::int64_t>(i));
  return values;
}

}  // namespace hadal::engine
