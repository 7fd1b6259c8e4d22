#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

#include "base/result.h"

namespace hadal {

/// A file that one holder at a time has; the system lets go of it when the process ends, however it ends. The file
/// itself stays.
class FileLock {
 public:
  /// Makes the file if need be (mode 0600) and waits for it. Error: kUnavailable, kNotFound (no such directory).
  [[nodiscard]] static Result<FileLock> wait(const std::filesystem::path& path);
  /// Nothing when another holds it.
  [[nodiscard]] static Result<std::optional<FileLock>> attempt(const std::filesystem::path& path);

  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock();

 private:
  explicit FileLock(int fd) : fd_(fd) {}

  int fd_;
};

}  // namespace hadal
