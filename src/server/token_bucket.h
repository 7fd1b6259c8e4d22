#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace hadal::server {

using Clock = std::chrono::steady_clock;

/// An amount that refills evenly: `capacity` units a period. What is asked for beyond the capacity needs a full bucket
/// and leaves a debt, so that a large request waits for its time instead of for ever.
class TokenBucket {
 public:
  TokenBucket(std::int64_t capacity, std::chrono::seconds period, Clock::time_point now)
      : capacity_(static_cast<double>(capacity)),
        period_(static_cast<double>(period.count())),
        level_(capacity_),
        time_(now) {}

  /// A changed limit. What has been taken stays taken.
  void set_capacity(std::int64_t capacity, Clock::time_point now) {
    refill(now);
    level_ += static_cast<double>(capacity) - capacity_;
    capacity_ = static_cast<double>(capacity);
  }

  /// Seconds until `amount` can be taken; 0: now.
  [[nodiscard]] double seconds_until(std::int64_t amount, Clock::time_point now) {
    refill(now);
    const double missing = std::min(static_cast<double>(amount), capacity_) - level_;
    return missing > kRounding ? missing * period_ / capacity_ : 0;
  }
  /// Takes `amount`, whatever is there.
  void take(std::int64_t amount) { level_ -= static_cast<double>(amount); }
  void give_back(std::int64_t amount) { level_ = std::min(capacity_, level_ + static_cast<double>(amount)); }

  [[nodiscard]] std::int64_t capacity() const { return static_cast<std::int64_t>(capacity_); }
  /// Whole units that are there, 0 in debt.
  [[nodiscard]] std::int64_t remaining(Clock::time_point now) {
    refill(now);
    return static_cast<std::int64_t>(std::max(0.0, level_ + kRounding));
  }
  [[nodiscard]] double seconds_until_full(Clock::time_point now) { return seconds_until(capacity(), now); }

 private:
  static constexpr double kRounding = 1e-6;  // units; who waited as long as told must not be refused

  void refill(Clock::time_point now) {
    if (now <= time_) return;
    const double seconds = std::chrono::duration<double>(now - time_).count();
    level_ = std::min(capacity_, level_ + seconds * capacity_ / period_);
    time_ = now;
  }

  double capacity_;
  double period_;  // seconds
  double level_;   // below 0: a debt
  Clock::time_point time_;
};

}  // namespace hadal::server
