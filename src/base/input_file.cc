#include "base/input_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "base/system_error.h"

namespace hadal {

Result<InputFile> InputFile::open(const std::filesystem::path& path) {
  InputFile file;
  file.path_ = path;
  // O_NONBLOCK: a pipe of that name must not hold the caller up.
  file.fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file.fd_ < 0) return system_error(path, "open it for reading");
  struct stat info{};
  if (::fstat(file.fd_, &info) != 0) return system_error(path, "read its size");
  file.size_ = static_cast<std::int64_t>(info.st_size);
  file.modified_ = info.st_mtim;
  return file;
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      size_(other.size_),
      modified_(other.modified_) {}

InputFile::~InputFile() {
  if (fd_ >= 0) ::close(fd_);
}

Status InputFile::read(std::int64_t offset, std::span<std::byte> out) const {
  std::int64_t at = offset;
  while (!out.empty()) {
    const ssize_t count = ::pread(fd_, out.data(), out.size(), static_cast<off_t>(at));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return system_error(path_, "read it");
    if (count == 0) {
      return fail(ErrorCode::kCorrupt,
                  fmt::format("{}: ends at byte {} where {} more were expected", path_.string(), at, out.size()));
    }
    out = out.subspan(static_cast<std::size_t>(count));
    at += count;
  }
  return {};
}

}  // namespace hadal
