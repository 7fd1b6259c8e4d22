#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

#include "base/result.h"

namespace hadal {

/// A file that has its name only when all of it is on the disk. It grows beside `path` as "PATH.<process>.partial" and
/// replaces what was there by publish(); without that the destructor removes it and leaves `path` as it was.
class AtomicFile {
 public:
  /// `mode`: permissions of the new file. Errors name `path`: kNotFound (no such directory), kResourceExhausted,
  /// kUnavailable.
  [[nodiscard]] static Result<AtomicFile> create(const std::filesystem::path& path, unsigned mode = 0644);

  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

  /// Appends, unbuffered. Errors: kResourceExhausted (the disk is full), kUnavailable.
  [[nodiscard]] Status write(std::span<const std::byte> bytes);
  /// Makes the file `bytes` long; what was not written reads as zeros and takes no room on the disk.
  [[nodiscard]] Status extend(std::int64_t bytes);
  /// Syncs the file, renames it to `path` and syncs the directory, so that it survives a loss of power.
  [[nodiscard]] Status publish();

 private:
  AtomicFile() = default;

  std::filesystem::path path_;
  std::filesystem::path partial_;
  int fd_ = -1;
};

}  // namespace hadal
