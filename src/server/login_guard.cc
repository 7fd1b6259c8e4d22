#include "server/login_guard.h"

#include <arpa/inet.h>
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <iterator>

namespace hadal::server {
namespace {

constexpr std::int64_t kTriesPerMinute = 20;
constexpr std::chrono::minutes kMinute{1};
constexpr std::size_t kMostAddresses = 4096;
constexpr std::size_t kNetworkBytes = 8;  // of an IPv6 address: who has one has the whole /64

/// What an address counts as: itself, or its network.
std::string counted(std::string_view address) {
  const std::string text(address.substr(0, address.find('%')));  // without a zone
  std::array<char, sizeof(in6_addr)> bytes{};
  // ::ffff:192.0.2.1 is 192.0.2.1 on a socket of both families.
  const std::string_view plain = text.starts_with("::ffff:") ? std::string_view(text).substr(7) : text;
  if (::inet_pton(AF_INET, plain.data(), bytes.data()) == 1) return std::string(plain);
  if (::inet_pton(AF_INET6, text.c_str(), bytes.data()) != 1) return text;
  return std::string(bytes.data(), kNetworkBytes);
}

}  // namespace

std::optional<Refusal> LoginGuard::check(std::string_view address, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  const auto found = buckets_.find(counted(address));
  if (found == buckets_.end()) return std::nullopt;
  const double seconds = found->second.seconds_until(1, now);
  if (seconds == 0) return std::nullopt;
  return Refusal{.error = {.cause = api::Cause::kTooManyRequests,
                           .message = fmt::format("Too many wrong API keys from this address. Please try again in {}s.",
                                                  retry_after_seconds(seconds))},
                 .retry_after = seconds,
                 .label = "address"};
}

void LoginGuard::failed(std::string_view address, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  const std::string name = counted(address);
  if (!buckets_.contains(name) && buckets_.size() >= kMostAddresses) make_room(now);
  buckets_.try_emplace(name, kTriesPerMinute, kMinute, now).first->second.take(1);
}

std::size_t LoginGuard::size() const {
  const std::lock_guard lock(mutex_);
  return buckets_.size();
}

void LoginGuard::make_room(Clock::time_point now) {
  for (auto entry = buckets_.begin(); entry != buckets_.end();) {
    entry = entry->second.seconds_until_full(now) == 0 ? buckets_.erase(entry) : std::next(entry);
  }
  if (buckets_.size() < kMostAddresses) return;
  // The one that tried least is the least loss.
  const auto least = std::max_element(buckets_.begin(), buckets_.end(), [now](auto& a, auto& b) {
    return a.second.remaining(now) < b.second.remaining(now);
  });
  buckets_.erase(least);
}

}  // namespace hadal::server
