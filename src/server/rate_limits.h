#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "api/error.h"
#include "server/http_message.h"
#include "server/refusal.h"
#include "server/token_bucket.h"

namespace hadal::server {

/// What a key or an account may use. None: no limit; else at least 1.
struct RateLimits {
  std::optional<std::int64_t> concurrent{};
  std::optional<std::int64_t> requests_per_minute{};
  std::optional<std::int64_t> input_tokens_per_minute{};
  std::optional<std::int64_t> output_tokens_per_minute{};
  std::optional<std::int64_t> tokens_per_day{};

  bool operator==(const RateLimits&) const = default;
};

/// The limits by the names that files and flags use.
struct RateLimitField {
  std::string_view name;
  std::optional<std::int64_t> RateLimits::* value;
};
inline constexpr std::array<RateLimitField, 5> kRateLimitFields = {{
    {"concurrent", &RateLimits::concurrent},
    {"requests_per_minute", &RateLimits::requests_per_minute},
    {"input_tokens_per_minute", &RateLimits::input_tokens_per_minute},
    {"output_tokens_per_minute", &RateLimits::output_tokens_per_minute},
    {"tokens_per_day", &RateLimits::tokens_per_day},
}};

/// Who is limited, and by what.
struct RateSubject {
  std::string id;
  RateLimits limits{};
};

/// One limit as clients see it.
struct RateWindow {
  std::int64_t limit = 0;
  std::int64_t remaining = 0;
  double reset = 0;  // seconds until all of it is there again
};

/// The tightest limits of one request; none where none is configured.
struct RateState {
  std::optional<RateWindow> requests{};
  std::optional<RateWindow> tokens{};
};

/// State of one key or account in the limiter.
struct RateBuckets {
  RateLimits limits{};
  std::int64_t running = 0;
  std::optional<TokenBucket> requests{};
  std::optional<TokenBucket> input{};
  std::optional<TokenBucket> output{};
  std::optional<TokenBucket> day{};
};

class RateLimiter;

/// One request's share of its key's and its account's limits. Gives back what was not settled when it ends. Thread-safe
/// towards the limiter, which must outlive it.
class RateLease {
 public:
  RateLease() = default;
  RateLease(RateLease&& other) noexcept;
  RateLease& operator=(RateLease&& other) noexcept;
  ~RateLease();

  /// Reserves prompt + min(max_tokens, 4,096) tokens, once, or takes nothing and says why not.
  [[nodiscard]] std::optional<Refusal> reserve(std::int64_t prompt_tokens, std::int64_t max_tokens,
                                               Clock::time_point now);
  /// Puts what was used in place of what was reserved and ends the lease; a second call does nothing.
  void settle(std::int64_t prompt_tokens, std::int64_t answer_tokens);
  /// For the headers of the answer.
  [[nodiscard]] RateState state(Clock::time_point now) const;

 private:
  friend class RateLimiter;
  static constexpr std::size_t kParties = 2;  // the key, the account

  RateLimiter* limiter_ = nullptr;
  std::array<RateBuckets*, kParties> parties_{};
  std::int64_t input_ = 0;  // reserved
  std::int64_t output_ = 0;
};

/// Limits per key and per account: requests at a time, requests and tokens a minute, tokens a day. Time comes from the
/// caller. Thread-safe.
class RateLimiter {
 public:
  RateLimiter() = default;
  RateLimiter(const RateLimiter&) = delete;
  RateLimiter& operator=(const RateLimiter&) = delete;

  /// Counts a request, or takes nothing and says which limit is used up and for how long. Limits that differ from
  /// those of the last call hold from now on.
  [[nodiscard]] tl::expected<RateLease, Refusal> begin(const RateSubject& key, const RateSubject& account,
                                                       Clock::time_point now);

 private:
  friend class RateLease;
  using Buckets = std::unordered_map<std::string, RateBuckets>;

  std::mutex mutex_;  // guards everything below and what leases point to
  Buckets keys_;
  Buckets accounts_;
};

/// x-ratelimit-limit-requests, -remaining-requests, -reset-requests and the same with -tokens, where a limit is
/// configured; nothing for families that do not send them.
[[nodiscard]] std::vector<Header> rate_limit_headers(api::Family family, const RateState& state);

}  // namespace hadal::server
