#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "base/result.h"

namespace hadal {

/// A whole file mapped read-only; the mapping ends with the object. Nothing is read before it is touched.
class MappedFile {
 public:
  /// Errors: kNotFound, kInvalidArgument (a directory), kUnavailable (the system's message is quoted).
  [[nodiscard]] static Result<MappedFile> open(const std::filesystem::path& path);

  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  [[nodiscard]] std::span<const std::byte> bytes() const { return {data_, size_}; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t mapped_bytes_ = 0;  // whole pages from data_ on
  std::filesystem::path path_;
};

/// Reads a file of at most `limit` bytes into memory. Errors as MappedFile::open, and kResourceExhausted beyond the
/// limit.
[[nodiscard]] Result<std::string> read_file(const std::filesystem::path& path, std::int64_t limit);

/// Writes `contents` to a temporary file beside `path`, syncs it and renames it over `path`. `mode`: its permissions.
[[nodiscard]] Status write_file_atomically(const std::filesystem::path& path, std::string_view contents,
                                           unsigned mode = 0644);

}  // namespace hadal
