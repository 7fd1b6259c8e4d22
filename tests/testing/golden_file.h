#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "formats/safetensors.h"

namespace hadal::testing {

/// A golden .safetensors file (see golden_path), read as plain vectors in row-major order. A missing file or tensor
/// ends the test program with a message: tests cannot go on without it.
class GoldenFile {
 public:
  explicit GoldenFile(const std::string& relative);

  [[nodiscard]] bool contains(std::string_view name) const { return file_->contains(name); }
  [[nodiscard]] std::vector<std::string> names() const { return file_->names(); }
  [[nodiscard]] Shape shape(std::string_view name) const;
  /// An F32 or BF16 tensor (bf16 is exact in float).
  [[nodiscard]] std::vector<float> floats(std::string_view name) const;
  /// The same as double.
  [[nodiscard]] std::vector<double> doubles(std::string_view name) const;
  /// A U8, I32 or I64 tensor; bytes are 0..255.
  [[nodiscard]] std::vector<std::int64_t> integers(std::string_view name) const;

 private:
  [[nodiscard]] formats::HostTensor tensor(std::string_view name) const;

  std::unique_ptr<formats::SafetensorsFile> file_;
};

}  // namespace hadal::testing
