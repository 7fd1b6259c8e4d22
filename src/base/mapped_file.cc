#include "base/mapped_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "base/atomic_file.h"
#include "base/system_error.h"

namespace hadal {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return system_error(path, "open it for reading");
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) return system_error(path, "read its size");
  if (S_ISDIR(info.st_mode)) return fail(ErrorCode::kInvalidArgument, path.string() + ": is a directory, not a file");

  MappedFile file;
  file.path_ = path;
  file.size_ = static_cast<std::size_t>(info.st_size);
  if (file.size_ == 0) return file;

  // A 2 MiB-aligned address lets the kernel map large folios of the page cache with 2 MiB entries.
  const std::size_t reserved = file.size_ + kHugePage;
  void* reservation = ::mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reservation == MAP_FAILED) return system_error(path, "reserve address space for it");
  std::size_t space = reserved;
  void* aligned = reservation;
  std::align(kHugePage, file.size_, aligned, space);
  void* mapped = ::mmap(aligned, file.size_, PROT_READ, MAP_SHARED | MAP_FIXED, fd.get(), 0);
  if (mapped == MAP_FAILED) {
    auto error = system_error(path, "map it into memory");
    ::munmap(reservation, reserved);
    return error;
  }
  // Give back what the alignment left over on both sides.
  auto* const begin = static_cast<std::byte*>(reservation);
  auto* const data = static_cast<std::byte*>(mapped);
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  file.mapped_bytes_ = (file.size_ + page - 1) / page * page;
  if (data > begin) ::munmap(begin, static_cast<std::size_t>(data - begin));
  std::byte* const end = begin + (reserved + page - 1) / page * page;
  if (data + file.mapped_bytes_ < end) {
    ::munmap(data + file.mapped_bytes_, static_cast<std::size_t>(end - (data + file.mapped_bytes_)));
  }
  ::madvise(data, file.mapped_bytes_, MADV_HUGEPAGE);  // advice only: an old kernel refuses it for files
  file.data_ = data;
  return file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept { *this = std::move(other); }

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(mapped_bytes_, other.mapped_bytes_);
  std::swap(path_, other.path_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), mapped_bytes_);
}

Result<std::string> read_file(const std::filesystem::path& path, std::int64_t limit) {
  HADAL_ASSIGN(const MappedFile file, MappedFile::open(path));
  const auto bytes = file.bytes();
  if (static_cast<std::int64_t>(bytes.size()) > limit) {
    return fail(ErrorCode::kResourceExhausted,
                fmt::format("{}: has {} bytes, more than the {} that are read of such a file", path.string(),
                            bytes.size(), limit));
  }
  std::string contents(bytes.size(), '\0');
  if (!bytes.empty()) std::memcpy(contents.data(), bytes.data(), bytes.size());
  return contents;
}

Status write_file_atomically(const std::filesystem::path& path, std::string_view contents, unsigned mode) {
  HADAL_ASSIGN(AtomicFile file, AtomicFile::create(path, mode));
  HADAL_TRY(file.write(std::as_bytes(std::span(contents))));
  return file.publish();
}

}  // namespace hadal
