#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>

#include "base/result.h"

namespace hadal::server {

/// Appends lines to a file, on a thread of its own so that a slow disk holds up nobody. Thread-safe.
class LogFile {
 public:
  enum class Readers : std::uint8_t { kGroup, kOwner };  // modes 0640, as far as the umask allows, and 0600

  /// `path`: of the file, which is made if it is not there; "-" for standard error. Errors: those of system_error.
  [[nodiscard]] static Result<std::unique_ptr<LogFile>> open(std::filesystem::path path, Readers readers);
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;
  /// Writes what waits.
  ~LogFile();

  /// Queues a line with its line feed; drops it, and says so later, when more than 4 MiB would wait with it.
  void write(std::string_view line);
  /// Lines from now on go to the file that then has the path: the one before may have been moved away. Should it not
  /// open, they still go to that one, and the log of errors says so.
  void reopen();

 private:
  LogFile(std::filesystem::path path, Readers readers, int fd);
  void run(const std::stop_token& stop);
  /// On the writer's thread.
  void change_file();

  const std::filesystem::path path_;
  const Readers readers_;
  int fd_;            // of the writer's thread
  std::mutex mutex_;  // guards all below
  std::condition_variable_any changed_;
  std::string waiting_;
  std::int64_t dropped_ = 0;
  std::optional<std::size_t> reopen_at_;  // bytes of waiting_ that still belong to the former file
  std::jthread writer_;
};

}  // namespace hadal::server
