#pragma once

#include <cstddef>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "server/refusal.h"
#include "server/token_bucket.h"

namespace hadal::server {

/// Wrong keys by address: 20 a minute. An IPv6 address stands for its /64. Remembers a bounded number of addresses.
/// Thread-safe.
class LoginGuard {
 public:
  /// Nothing, or a refusal for an address that tried too often.
  [[nodiscard]] std::optional<Refusal> check(std::string_view address, Clock::time_point now);
  /// Notes a wrong key.
  void failed(std::string_view address, Clock::time_point now);
  [[nodiscard]] std::size_t size() const;

 private:
  void make_room(Clock::time_point now);

  mutable std::mutex mutex_;  // guards buckets_
  std::unordered_map<std::string, TokenBucket> buckets_;
};

}  // namespace hadal::server
