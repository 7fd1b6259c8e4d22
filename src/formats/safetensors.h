#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/mapped_file.h"
#include "base/result.h"
#include "formats/weight_source.h"
#include "tensor/tensor.h"

namespace hadal::formats {

/// One entry of a safetensors header. `begin` and `end` are byte offsets from the start of the file.
struct TensorInfo {
  std::string name;
  DType type = DType::kF32;
  Shape shape;
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;  // in header order
  std::int64_t header_bytes = 0;    // of the JSON text with its padding, without the length in front of it
  std::int64_t unused_bytes = 0;    // of the data that no tensor covers
};

/// The format's name of a type ("F8_E4M3"), empty for types it does not have.
[[nodiscard]] std::string_view safetensors_name(DType type);

/// Reads a header from the first bytes of a file of `file_bytes` bytes. `start` holds at least the header (the whole
/// mapped file will do). Every range is checked against type, shape and file, and no two ranges overlap. U8 is read as
/// kI8. `where` is named in messages.
/// Errors: kCorrupt (truncated, not a safetensors file, a broken or lying header), kUnsupported (an element type or a
/// rank that no V4 checkpoint has).
[[nodiscard]] Result<SafetensorsHeader> parse_safetensors_header(std::span<const std::byte> start,
                                                                 std::int64_t file_bytes, std::string_view where);

/// One safetensors file, mapped read-only. As a WeightSource its names are those of the file.
class SafetensorsFile final : public WeightSource {
 public:
  /// Errors: as MappedFile::open and parse_safetensors_header.
  [[nodiscard]] static Result<std::unique_ptr<SafetensorsFile>> open(const std::filesystem::path& path);

  [[nodiscard]] const SafetensorsHeader& header() const { return header_; }
  [[nodiscard]] std::int64_t file_bytes() const { return static_cast<std::int64_t>(file_.bytes().size()); }
  /// The tensor that an entry of this file's header describes.
  [[nodiscard]] HostTensor at(const TensorInfo& info) const;

  [[nodiscard]] Result<HostTensor> tensor(std::string_view name) const override;
  [[nodiscard]] bool contains(std::string_view name) const override { return index_.contains(name); }
  [[nodiscard]] std::vector<std::string> names() const override;
  [[nodiscard]] std::string description() const override { return file_.path().string(); }

 private:
  SafetensorsFile() = default;

  MappedFile file_;
  SafetensorsHeader header_;
  std::unordered_map<std::string_view, const TensorInfo*> index_;  // keys and values live in header_
};

}  // namespace hadal::formats
