#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/atomic_file.h"
#include "base/result.h"
#include "formats/weight_source.h"
#include "tensor/tensor.h"

namespace hadal::formats {

/// A tensor that will be written: its name in the file, type (FP4 weights as kI8) and shape.
struct TensorSpec {
  std::string name;
  DType type = DType::kF32;
  Shape shape;
};

[[nodiscard]] std::int64_t byte_size(const TensorSpec& spec);

/// Order of the official shards: by type (I64, I32, F64, F32, BF16, F8_E8M0, F8_E4M3, I8), then by name as bytes.
[[nodiscard]] bool official_order(DType type_a, std::string_view name_a, DType type_b, std::string_view name_b);

/// The bytes in front of the data, in the form of the official shards: length, compact JSON without metadata, padded
/// with spaces to a multiple of 8.
[[nodiscard]] std::string safetensors_header(std::span<const TensorSpec> specs);

/// Writes one safetensors file from start to end, in constant memory. It grows under a temporary name beside `path`
/// and gets its own by finish(); without that the destructor removes it.
class SafetensorsWriter {
 public:
  /// Errors: kNotFound, kUnavailable, kResourceExhausted (the system's message is quoted).
  [[nodiscard]] static Result<SafetensorsWriter> create(const std::filesystem::path& path,
                                                        std::span<const TensorSpec> specs);

  /// The next bytes of the data; pieces of any length, tensors in the order of the specs without gaps.
  /// Errors: as create(), and kInvalidArgument beyond the last tensor's end.
  [[nodiscard]] Status write(std::span<const std::byte> bytes);
  /// Leaves the rest of the data as a hole that reads as zeros and takes no room on the disk.
  [[nodiscard]] Status leave_hole();
  /// Syncs and renames. Errors: as create(), and kInvalidArgument when data are missing.
  [[nodiscard]] Status finish();

 private:
  SafetensorsWriter(AtomicFile file, std::int64_t bytes)
      : file_(std::move(file)), remaining_(bytes), file_bytes_(bytes) {}

  AtomicFile file_;
  std::int64_t remaining_;  // bytes that are still to come
  std::int64_t file_bytes_;
};

/// Writes tensors from memory, sorted into the official order.
struct NamedTensor {
  std::string name;
  HostTensor tensor;
};
[[nodiscard]] Status write_safetensors(const std::filesystem::path& path, std::vector<NamedTensor> tensors);

}  // namespace hadal::formats
