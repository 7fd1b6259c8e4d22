#include "train/checkpoint_file.h"

#include <fmt/core.h>

#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/atomic_file.h"
#include "base/checksum.h"
#include "formats/safetensors.h"
#include "tensor/arena.h"

namespace hadal::train {
namespace {

using Json = nlohmann::ordered_json;
using formats::NamedTensor;
namespace fs = std::filesystem;

constexpr std::string_view kMagic = "HADALTRN";
constexpr std::int64_t kLargestHeader = std::int64_t{256} << 20;

/// The first bytes of a file, little-endian.
struct Prefix {
  std::array<char, 8> magic{};
  std::uint32_t version = 0;
  std::uint32_t reserved = 0;
  std::uint64_t header_bytes = 0;
  std::uint64_t header_checksum = 0;
};
static_assert(sizeof(Prefix) == 32);
static_assert(kAlignment == 64);  // of tensors in the file

std::span<const std::byte> bytes_of(const formats::HostTensor& tensor) {
  return {tensor.data, static_cast<std::size_t>(tensor.bytes)};
}

std::string header_of(std::string_view state_json, std::span<const NamedTensor> tensors) {
  Json list = Json::array();
  std::int64_t offset = 0;
  for (const NamedTensor& named : tensors) {
    Json shape = Json::array();
    for (int i = 0; i < named.tensor.shape.rank(); ++i) shape.push_back(named.tensor.shape[i]);
    list.push_back(Json{{"name", named.name},
                        {"dtype", formats::safetensors_name(named.tensor.type)},
                        {"shape", std::move(shape)},
                        {"offset", offset},
                        {"bytes", named.tensor.bytes},
                        {"xxh3", fmt::format("{:016x}", checksum(bytes_of(named.tensor)))}});
    offset = aligned(offset + named.tensor.bytes);
  }
  std::string header = Json{{"state", std::string(state_json)}, {"tensors", std::move(list)}}.dump();
  const auto size = static_cast<std::int64_t>(header.size() + sizeof(Prefix));
  header.append(static_cast<std::size_t>(aligned(size) - size), ' ');
  return header;
}

std::optional<DType> type_of(std::string_view name) {
  for (const DType type : {DType::kF32, DType::kF64, DType::kI32, DType::kI64}) {
    if (formats::safetensors_name(type) == name) return type;
  }
  return std::nullopt;
}

}  // namespace

Status write_checkpoint_file(const fs::path& path, std::string_view state_json, std::span<const NamedTensor> tensors) {
  const std::string header = header_of(state_json, tensors);
  Prefix prefix{.version = kCheckpointVersion,
                .header_bytes = header.size(),
                .header_checksum = checksum(std::as_bytes(std::span(header)))};
  std::copy(kMagic.begin(), kMagic.end(), prefix.magic.begin());
  HADAL_ASSIGN(AtomicFile file, AtomicFile::create(path));
  HADAL_TRY(file.write(std::as_bytes(std::span(&prefix, 1))));
  HADAL_TRY(file.write(std::as_bytes(std::span(header))));
  constexpr std::array<std::byte, kAlignment> kPadding{};
  for (const NamedTensor& named : tensors) {
    HADAL_TRY(file.write(bytes_of(named.tensor)));
    const std::int64_t gap = aligned(named.tensor.bytes) - named.tensor.bytes;
    HADAL_TRY(file.write(std::span(kPadding).first(static_cast<std::size_t>(gap))));
  }
  return file.publish();
}

Result<CheckpointFile> CheckpointFile::open(const fs::path& path) {
  CheckpointFile file;
  HADAL_ASSIGN(file.file_, MappedFile::open(path));
  try {
    HADAL_TRY(file.parse());
  } catch (const nlohmann::json::exception& error) {
    return fail(ErrorCode::kCorrupt, fmt::format("{}: its header is damaged ({})", path.string(), error.what()));
  }
  return file;
}

Status CheckpointFile::parse() {
  const std::span<const std::byte> bytes = file_.bytes();
  const std::string name = path().string();
  Prefix prefix;
  if (bytes.size() < sizeof(prefix)) {
    return fail(ErrorCode::kCorrupt, fmt::format("{}: is cut off or no training checkpoint", name));
  }
  std::memcpy(&prefix, bytes.data(), sizeof(prefix));
  if (std::string_view(prefix.magic.data(), prefix.magic.size()) != kMagic) {
    return fail(ErrorCode::kCorrupt, fmt::format("{}: is no training checkpoint", name));
  }
  if (prefix.version != kCheckpointVersion) {
    return fail(ErrorCode::kUnsupported,
                fmt::format("{}: is of version {}, but this program reads version {}; use the program that wrote it",
                            name, prefix.version, kCheckpointVersion));
  }
  const std::size_t rest = bytes.size() - sizeof(prefix);
  if (prefix.header_bytes > rest || prefix.header_bytes > static_cast<std::uint64_t>(kLargestHeader)) {
    return fail(ErrorCode::kCorrupt, fmt::format("{}: is cut off inside its header", name));
  }
  const auto header = bytes.subspan(sizeof(prefix), prefix.header_bytes);
  if (checksum(header) != prefix.header_checksum) {
    return fail(ErrorCode::kCorrupt, fmt::format("{}: its header is damaged (checksum)", name));
  }
  const std::span<const std::byte> data = bytes.subspan(sizeof(prefix) + prefix.header_bytes);
  const auto* const text = static_cast<const char*>(static_cast<const void*>(header.data()));
  const Json json = Json::parse(text, text + header.size());
  state_json_ = json.at("state").get<std::string>();
  for (const Json& entry : json.at("tensors")) {
    const auto tensor_name = entry.at("name").get<std::string>();
    const auto offset = entry.at("offset").get<std::uint64_t>();
    const auto size = entry.at("bytes").get<std::uint64_t>();
    const auto type = type_of(entry.at("dtype").get<std::string>());
    const Json& shape = entry.at("shape");
    if (!type || offset > data.size() || size > data.size() - offset) {
      return fail(ErrorCode::kCorrupt, fmt::format("{}: is cut off inside '{}'", name, tensor_name));
    }
    formats::HostTensor tensor{
        .data = data.data() + offset, .type = *type, .shape = {}, .bytes = static_cast<std::int64_t>(size)};
    if (shape.size() == 1) tensor.shape = {shape[0].get<std::int64_t>()};
    if (shape.size() == 2) tensor.shape = {shape[0].get<std::int64_t>(), shape[1].get<std::int64_t>()};
    if (tensor.shape.rank() == 0 || tensor.shape.elements() * size_of(*type) != tensor.bytes) {
      return fail(ErrorCode::kCorrupt, fmt::format("{}: '{}' has no sensible shape", name, tensor_name));
    }
    if (fmt::format("{:016x}", checksum(bytes_of(tensor))) != entry.at("xxh3").get<std::string>()) {
      return fail(ErrorCode::kCorrupt, fmt::format("{}: '{}' is damaged (checksum)", name, tensor_name));
    }
    tensors_.emplace(tensor_name, tensor);
  }
  return {};
}

Result<formats::HostTensor> CheckpointFile::tensor(std::string_view name, DType type, std::int64_t elements) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end() || found->second.type != type || found->second.shape.elements() != elements) {
    return fail(ErrorCode::kCorrupt,
                fmt::format("{}: holds no '{}' of {} numbers of type {}; it belongs to another model", path().string(),
                            name, elements, hadal::name(type)));
  }
  return found->second;
}

}  // namespace hadal::train
