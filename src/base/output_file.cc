#include "base/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "base/system_error.h"

namespace hadal {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{1} << 20;

}  // namespace

Result<OutputFile> OutputFile::create(const std::filesystem::path& path, unsigned mode) {
  OutputFile file;
  file.path_ = path;
  file.fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
  if (file.fd_ < 0) return system_error(path, "create it");
  file.buffer_.reserve(kBufferBytes);
  return file;
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), buffer_(std::move(other.buffer_)) {}

OutputFile::~OutputFile() {
  if (fd_ >= 0) ::close(fd_);
}

Status OutputFile::append(std::span<const std::byte> bytes) {
  if (buffer_.size() + bytes.size() > kBufferBytes) HADAL_TRY(flush());
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  return buffer_.size() >= kBufferBytes ? flush() : Status{};
}

Status OutputFile::flush() {
  HADAL_TRY(write_all(fd_, buffer_, path_));
  buffer_.clear();
  return {};
}

Status OutputFile::close() {
  HADAL_TRY(flush());
  if (::fsync(fd_) != 0) return system_error(path_, "sync it");
  if (::close(std::exchange(fd_, -1)) != 0) return system_error(path_, "close it");
  return {};
}

Status write_all(int fd, std::span<const std::byte> bytes, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return system_error(path, "write to it");
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return {};
}

Status sync_directory(const std::filesystem::path& directory) {
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return system_error(directory, "open it");
  const bool failed = ::fsync(fd) != 0 && errno != EINVAL;  // EINVAL: the file system can't sync a directory
  auto error = system_error(directory, "sync it");
  ::close(fd);
  if (failed) return error;
  return {};
}

}  // namespace hadal
