#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/mapped_file.h"
#include "base/result.h"
#include "text/zstd_file.h"

namespace hadal::train {

/// A file of text, plain or packed (*.zst), cut at a separator.
class TextFile {
 public:
  /// Longest stretch between two separators, in bytes.
  static constexpr std::size_t kMaxStretch = std::size_t{256} << 20;

  /// Errors: as MappedFile::open, ZstdReader::open.
  [[nodiscard]] static Result<TextFile> open(const std::filesystem::path& path);

  /// The stretch up to the next `separator` (empty: there is none) or the end of the file; false when nothing is left.
  /// The view lives until the next call. Errors: kCorrupt (packed data), kResourceExhausted (longer than kMaxStretch).
  [[nodiscard]] Result<bool> next(std::string_view separator, std::string_view& stretch);

  /// Bytes of the file that have been looked at, and its size; for a packed file an estimate.
  [[nodiscard]] std::int64_t position() const { return position_; }
  [[nodiscard]] std::int64_t size() const { return size_; }

 private:
  TextFile() = default;

  std::filesystem::path path_;
  MappedFile plain_;
  std::optional<text::ZstdReader> packed_;
  std::string window_;  // unpacked and not yet given out, from begin_ on
  std::size_t begin_ = 0;
  bool at_end_ = false;
  std::int64_t position_ = 0;
  std::int64_t size_ = 0;
};

/// Bytes of text that a file will give: its size, or four times that of a packed one.
[[nodiscard]] std::int64_t estimated_text_bytes(const std::filesystem::path& path);

}  // namespace hadal::train
