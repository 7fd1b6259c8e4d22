#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "server/http_reader.h"

namespace hadal::server {

/// Counts the whole requests in bytes that wait behind a request under way.
class WaitingRequests {
 public:
  explicit WaitingRequests(const HttpLimits& limits) : limits_(limits) {}

  /// Bytes behind those seen before. Behind a fault nothing is counted: the connection will end there.
  void see(std::string_view bytes);
  [[nodiscard]] std::int64_t count() const { return count_; }

 private:
  HttpLimits limits_;
  std::unique_ptr<HttpReader> reader_;  // of the request that is not whole yet
  bool has_head_ = false;
  bool faulty_ = false;
  std::string bytes_;  // not yet read
  std::int64_t count_ = 0;
};

}  // namespace hadal::server
