#include "base/atomic_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <utility>

#include "base/output_file.h"
#include "base/system_error.h"

namespace hadal {

Result<AtomicFile> AtomicFile::create(const std::filesystem::path& path, unsigned mode) {
  AtomicFile file;
  file.path_ = path;
  file.partial_ = path.string() + fmt::format(".{}.partial", ::getpid());
  file.fd_ = ::open(file.partial_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
  if (file.fd_ < 0) return system_error(path, "create it");
  return file;
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)), partial_(std::move(other.partial_)), fd_(std::exchange(other.fd_, -1)) {}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(partial_.c_str());
}

Status AtomicFile::write(std::span<const std::byte> bytes) { return write_all(fd_, bytes, path_); }

Status AtomicFile::extend(std::int64_t bytes) {
  if (::ftruncate(fd_, bytes) != 0) return system_error(path_, "give it its size");
  return {};
}

Status AtomicFile::publish() {
  if (::fsync(fd_) != 0) return system_error(path_, "sync it");
  if (::rename(partial_.c_str(), path_.c_str()) != 0) return system_error(path_, "rename the finished file to it");
  ::close(std::exchange(fd_, -1));
  return sync_directory(path_.has_parent_path() ? path_.parent_path() : ".");
}

}  // namespace hadal
