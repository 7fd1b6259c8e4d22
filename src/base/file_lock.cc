#include "base/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <utility>

#include "base/system_error.h"

namespace hadal {
namespace {

Result<int> open_lock(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return system_error(path, "open it");
  return fd;
}

/// flock() that goes on after a signal.
bool locked(int fd, int operation) {
  int result = 0;
  do result = ::flock(fd, operation);
  while (result != 0 && errno == EINTR);
  return result == 0;
}

}  // namespace

Result<FileLock> FileLock::wait(const std::filesystem::path& path) {
  HADAL_ASSIGN(FileLock lock, open_lock(path).map([](int fd) { return FileLock(fd); }));
  if (!locked(lock.fd_, LOCK_EX)) return system_error(path, "lock it");
  return lock;
}

Result<std::optional<FileLock>> FileLock::attempt(const std::filesystem::path& path) {
  HADAL_ASSIGN(FileLock lock, open_lock(path).map([](int fd) { return FileLock(fd); }));
  if (locked(lock.fd_, LOCK_EX | LOCK_NB)) return std::optional<FileLock>(std::move(lock));
  if (errno != EWOULDBLOCK) return system_error(path, "lock it");
  return std::optional<FileLock>();
}

FileLock::FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

FileLock::~FileLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace hadal
