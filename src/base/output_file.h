#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <vector>

#include "base/result.h"

namespace hadal {

/// A new file that is written from front to back through a buffer. Without close() what was written stays as it is: for
/// files inside a directory that gets its name only when all of it is there.
class OutputFile {
 public:
  /// Makes or empties the file; `mode` are the permissions of a new one. Errors: kNotFound (no such directory),
  /// kResourceExhausted, kUnavailable.
  [[nodiscard]] static Result<OutputFile> create(const std::filesystem::path& path, unsigned mode = 0644);

  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile();

  /// Errors: kResourceExhausted (the disk is full), kUnavailable.
  [[nodiscard]] Status append(std::span<const std::byte> bytes);
  /// Writes what is left, syncs the file to the disk and closes it.
  [[nodiscard]] Status close();

 private:
  OutputFile() = default;
  [[nodiscard]] Status flush();

  std::filesystem::path path_;
  int fd_ = -1;
  std::vector<std::byte> buffer_;
};

/// Writes all bytes to the open file `fd`; errors name `path`: kResourceExhausted (the disk is full), kUnavailable.
[[nodiscard]] Status write_all(int fd, std::span<const std::byte> bytes, const std::filesystem::path& path);

/// Syncs a directory, so that names made or changed in it survive a loss of power, where the file system can do
/// that. Error: kUnavailable.
[[nodiscard]] Status sync_directory(const std::filesystem::path& directory);

}  // namespace hadal
