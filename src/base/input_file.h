#pragma once

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <filesystem>
#include <span>

#include "base/result.h"

namespace hadal {

/// A file whose pieces are read into the caller's memory. Unlike a mapping it reports a disk that fails, or a file that
/// somebody cuts off meanwhile, as an error.
class InputFile {
 public:
  /// Errors: kNotFound, kUnavailable.
  [[nodiscard]] static Result<InputFile> open(const std::filesystem::path& path);

  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&&) = delete;
  ~InputFile();

  [[nodiscard]] std::int64_t size() const { return size_; }
  [[nodiscard]] std::timespec modified() const { return modified_; }
  /// Fills `out` with the bytes from `offset` on. Errors: kCorrupt (the file ends before), kUnavailable.
  [[nodiscard]] Status read(std::int64_t offset, std::span<std::byte> out) const;

 private:
  InputFile() = default;

  std::filesystem::path path_;
  int fd_ = -1;
  std::int64_t size_ = 0;
  std::timespec modified_{};
};

}  // namespace hadal
