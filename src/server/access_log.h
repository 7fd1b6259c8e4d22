#pragma once

#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>

#include "base/result.h"
#include "server/http_server.h"

namespace hadal::server {

/// One line of JSON with a line feed: who asked for what and how it went. Neither prompts nor answers nor headers.
[[nodiscard]] std::string access_line(const RequestRecord& record);

/// Appends such lines to a file, on a thread of its own so that a slow disk holds up nobody. Thread-safe.
class AccessLog {
 public:
  /// `path`: of the file, which is made if it is not there; "-" for standard error. Errors: those of
  /// system_error.
  [[nodiscard]] static Result<std::unique_ptr<AccessLog>> open(const std::filesystem::path& path);
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;
  /// Writes what waits.
  ~AccessLog();

  /// Queues a line; drops it, and says so later, while more than 4 MiB wait.
  void write(const RequestRecord& record);

 private:
  AccessLog(int fd, bool owned);
  void run(const std::stop_token& stop);

  const int fd_;
  const bool owned_;
  std::mutex mutex_;  // guards waiting_ and dropped_
  std::condition_variable_any changed_;
  std::string waiting_;
  std::int64_t dropped_ = 0;
  std::jthread writer_;
};

}  // namespace hadal::server
