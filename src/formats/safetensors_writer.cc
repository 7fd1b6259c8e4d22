#include "formats/safetensors_writer.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "formats/safetensors.h"

namespace hadal::formats {
namespace {

int type_rank(DType type) {
  switch (type) {
    case DType::kI64:
      return 0;
    case DType::kI32:
      return 1;
    case DType::kF64:
      return 2;
    case DType::kF32:
      return 3;
    case DType::kBf16:
      return 4;
    case DType::kE8m0:
      return 5;
    case DType::kE4m3:
      return 6;
    case DType::kI8:
    case DType::kE2m1x2:
      return 7;
  }
  return 8;
}

}  // namespace

std::int64_t byte_size(const TensorSpec& spec) { return spec.shape.elements() * size_of(spec.type); }

bool official_order(DType type_a, std::string_view name_a, DType type_b, std::string_view name_b) {
  const int rank_a = type_rank(type_a);
  const int rank_b = type_rank(type_b);
  return rank_a != rank_b ? rank_a < rank_b : name_a < name_b;
}

std::string safetensors_header(std::span<const TensorSpec> specs) {
  std::string json = "{";
  std::int64_t offset = 0;
  for (const TensorSpec& spec : specs) {
    const std::int64_t end = offset + byte_size(spec);
    const DType type = spec.type == DType::kE2m1x2 ? DType::kI8 : spec.type;
    if (json.size() > 1) json += ',';
    json += nlohmann::json(spec.name).dump();  // the library quotes and escapes
    json += fmt::format(R"(:{{"dtype":"{}","shape":[)", safetensors_name(type));
    for (int i = 0; i < spec.shape.rank(); ++i) json += fmt::format("{}{}", i == 0 ? "" : ",", spec.shape[i]);
    json += fmt::format(R"(],"data_offsets":[{},{}]}})", offset, end);
    offset = end;
  }
  json += '}';
  json.resize((json.size() + 7) / 8 * 8, ' ');
  std::string header(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) header[i] = static_cast<char>(json.size() >> (8 * i) & 255U);
  return header + json;
}

Result<SafetensorsWriter> SafetensorsWriter::create(const std::filesystem::path& path,
                                                    std::span<const TensorSpec> specs) {
  HADAL_ASSIGN(AtomicFile file, AtomicFile::create(path));
  const std::string header = safetensors_header(specs);
  auto bytes = static_cast<std::int64_t>(header.size());
  for (const TensorSpec& spec : specs) bytes += byte_size(spec);
  SafetensorsWriter writer(std::move(file), bytes);
  HADAL_TRY(writer.write(std::as_bytes(std::span(header))));
  return writer;
}

Status SafetensorsWriter::write(std::span<const std::byte> bytes) {
  if (static_cast<std::int64_t>(bytes.size()) > remaining_) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("{}: more data than its tensors hold", file_.path().string()));
  }
  remaining_ -= static_cast<std::int64_t>(bytes.size());
  return file_.write(bytes);
}

Status SafetensorsWriter::leave_hole() {
  remaining_ = 0;
  return file_.extend(file_bytes_);
}

Status SafetensorsWriter::finish() {
  if (remaining_ != 0) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: {} bytes of data are missing", file_.path().string(), remaining_));
  }
  return file_.publish();
}

Status write_safetensors(const std::filesystem::path& path, std::vector<NamedTensor> tensors) {
  std::sort(tensors.begin(), tensors.end(), [](const NamedTensor& a, const NamedTensor& b) {
    return official_order(a.tensor.type, a.name, b.tensor.type, b.name);
  });
  std::vector<TensorSpec> specs;
  specs.reserve(tensors.size());
  for (const NamedTensor& named : tensors) {
    specs.push_back({named.name, named.tensor.type, named.tensor.shape});
    if (named.tensor.bytes != byte_size(specs.back())) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("{}: tensor '{}' has {} bytes, its type and shape need {}", path.string(), named.name,
                              named.tensor.bytes, byte_size(specs.back())));
    }
  }
  HADAL_ASSIGN(SafetensorsWriter writer, SafetensorsWriter::create(path, specs));
  for (const NamedTensor& named : tensors) {
    HADAL_TRY(writer.write({named.tensor.data, static_cast<std::size_t>(named.tensor.bytes)}));
  }
  return writer.finish();
}

}  // namespace hadal::formats
