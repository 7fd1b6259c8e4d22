#include "server/log_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/log.h"
#include "base/system_error.h"

namespace hadal::server {
namespace {

constexpr std::size_t kWaitingBytes = 4 << 20;

bool is_standard_error(const std::filesystem::path& path) { return path == "-"; }

Result<int> open_file(const std::filesystem::path& path, LogFile::Readers readers) {
  if (is_standard_error(path)) return STDERR_FILENO;
  const bool owner = readers == LogFile::Readers::kOwner;
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, owner ? 0600 : 0640);
  if (fd < 0) return system_error(path, "be opened as a log");
  // A file that was there may have been open to others.
  if (owner && ::fchmod(fd, 0600) != 0) {
    auto error = system_error(path, "be closed to other readers");
    ::close(fd);
    return error;
  }
  return fd;
}

/// Writes all, as far as the file takes it.
void write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const auto written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace

Result<std::unique_ptr<LogFile>> LogFile::open(std::filesystem::path path, Readers readers) {
  HADAL_ASSIGN(const int fd, open_file(path, readers));
  return std::unique_ptr<LogFile>(new LogFile(std::move(path), readers, fd));
}

LogFile::LogFile(std::filesystem::path path, Readers readers, int fd)
    : path_(std::move(path)), readers_(readers), fd_(fd), writer_([this](const std::stop_token& stop) { run(stop); }) {}

LogFile::~LogFile() {
  writer_.request_stop();
  writer_.join();
  if (!is_standard_error(path_)) ::close(fd_);
}

void LogFile::write(std::string_view line) {
  {
    const std::lock_guard lock(mutex_);
    if (!waiting_.empty() && waiting_.size() + line.size() > kWaitingBytes) {
      ++dropped_;
      return;
    }
    waiting_ += line;
  }
  changed_.notify_one();
}

void LogFile::reopen() {
  {
    const std::lock_guard lock(mutex_);
    reopen_at_ = waiting_.size();
  }
  changed_.notify_one();
}

void LogFile::change_file() {
  if (is_standard_error(path_)) return;
  const Result<int> opened = open_file(path_, readers_);
  if (!opened) {
    log::error("the log goes on in its former file: {}", opened.error().message);
    return;
  }
  ::close(std::exchange(fd_, *opened));
}

void LogFile::run(const std::stop_token& stop) {
  while (true) {
    std::string lines;
    std::optional<std::size_t> reopen_at;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, stop, [&] { return reopen_at_ || !waiting_.empty(); });
      if (!reopen_at_ && waiting_.empty()) return;  // stopped
      lines = std::exchange(waiting_, {});
      reopen_at = std::exchange(reopen_at_, std::nullopt);
      if (const std::int64_t dropped = std::exchange(dropped_, 0); dropped > 0) {
        lines += fmt::format("{{\"dropped_lines\":{}}}\n", dropped);
      }
    }
    if (reopen_at) {
      write_all(fd_, std::string_view(lines).substr(0, *reopen_at));
      lines.erase(0, *reopen_at);
      change_file();
    }
    write_all(fd_, lines);
  }
}

}  // namespace hadal::server
