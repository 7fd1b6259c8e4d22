#include "testing/golden_file.h"

#include "base/check.h"
#include "testing/golden_path.h"

namespace hadal::testing {

GoldenFile::GoldenFile(const std::string& relative) {
  const auto path = golden_path(relative);
  HADAL_CHECK(path.has_value(), relative + " is not among the golden data");
  auto file = formats::SafetensorsFile::open(*path);
  HADAL_CHECK(file.has_value(), file.has_value() ? "" : file.error().message);
  file_ = std::move(*file);
}

formats::HostTensor GoldenFile::tensor(std::string_view name) const {
  auto found = file_->tensor(name);
  HADAL_CHECK(found.has_value(), found.has_value() ? "" : found.error().message);
  return *found;
}

Shape GoldenFile::shape(std::string_view name) const { return tensor(name).shape; }

std::vector<float> GoldenFile::floats(std::string_view name) const {
  const formats::HostTensor host = tensor(name);
  HADAL_CHECK(host.type == DType::kF32 || host.type == DType::kBf16, "a golden tensor is not F32 or BF16");
  std::vector<float> values;
  for (std::int64_t i = 0; i < host.shape.elements(); ++i) {
    const std::byte* address = host.data + i * size_of(host.type);
    values.push_back(host.type == DType::kF32 ? load_unaligned<float>(address) : to_f32(load_unaligned<bf16>(address)));
  }
  return values;
}

std::vector<double> GoldenFile::doubles(std::string_view name) const {
  const std::vector<float> values = floats(name);
  return {values.begin(), values.end()};
}

std::vector<std::int64_t> GoldenFile::integers(std::string_view name) const {
  const formats::HostTensor host = tensor(name);
  std::vector<std::int64_t> values;
  for (std::int64_t i = 0; i < host.shape.elements(); ++i) {
    const std::byte* address = host.data + i * size_of(host.type);
    switch (host.type) {
      case DType::kI8:
        values.push_back(load_unaligned<std::uint8_t>(address));
        break;
      case DType::kI32:
        values.push_back(load_unaligned<std::int32_t>(address));
        break;
      case DType::kI64:
        values.push_back(load_unaligned<std::int64_t>(address));
        break;
      default:
        HADAL_CHECK(false, "a golden tensor is not U8, I32 or I64");
    }
  }
  return values;
}

}  // namespace hadal::testing
