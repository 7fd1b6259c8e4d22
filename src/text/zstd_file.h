#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "base/mapped_file.h"
#include "base/result.h"

namespace hadal::text {

/// Unpacks a zstd file (one frame or several) piece by piece.
class ZstdReader {
 public:
  /// Errors: as MappedFile::open, kResourceExhausted (no memory).
  [[nodiscard]] static Result<ZstdReader> open(const std::filesystem::path& path);

  ZstdReader(ZstdReader&&) noexcept;
  ~ZstdReader();

  /// Appends up to `most` (not 0) unpacked bytes to `out`; none at the end of the file. Errors: kCorrupt (not zstd,
  /// damaged or cut short).
  [[nodiscard]] Status read(std::size_t most, std::string& out);

 private:
  struct State;
  explicit ZstdReader(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Unpacked contents of a zstd file, at most `limit` bytes; more are never unpacked. Errors: as read_file, kCorrupt
/// (not zstd, damaged or cut short), kResourceExhausted (beyond the limit).
[[nodiscard]] Result<std::string> read_zstd_file(const std::filesystem::path& path, std::int64_t limit);

}  // namespace hadal::text
