#include "server/rate_limits.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/units.h"

namespace hadal::server {

namespace {

constexpr std::chrono::minutes kMinute{1};
constexpr std::chrono::hours kDay{24};
constexpr std::int64_t kMostReservedOutput = 4096;  // tokens; few answers use all of max_tokens

/// How one bucket is named: to clients and in the metric.
struct Kind {
  std::optional<TokenBucket> RateBuckets::* bucket;
  std::string_view words;
  std::string_view label;
};
constexpr Kind kRequests{&RateBuckets::requests, "requests per minute", "requests"};
constexpr Kind kInput{&RateBuckets::input, "input tokens per minute", "input_tokens"};
constexpr Kind kOutput{&RateBuckets::output, "output tokens per minute", "output_tokens"};
constexpr Kind kTokensPerDay{&RateBuckets::day, "tokens per day", "tokens_per_day"};

void set_bucket(std::optional<TokenBucket>& bucket, std::optional<std::int64_t> limit, std::chrono::seconds period,
                Clock::time_point now) {
  if (!limit) {
    bucket.reset();
  } else if (bucket) {
    bucket->set_capacity(*limit, now);
  } else {
    bucket.emplace(*limit, period, now);
  }
}

void set_limits(RateBuckets& party, const RateLimits& limits, Clock::time_point now) {
  if (party.limits == limits) return;
  set_bucket(party.requests, limits.requests_per_minute, kMinute, now);
  set_bucket(party.input, limits.input_tokens_per_minute, kMinute, now);
  set_bucket(party.output, limits.output_tokens_per_minute, kMinute, now);
  set_bucket(party.day, limits.tokens_per_day, kDay, now);
  party.limits = limits;
}

/// "1.5" for 1.41: rounded up, so that who waits as long is not refused again.
std::string tenths(double seconds) {
  const auto whole = static_cast<std::int64_t>(std::ceil(seconds * 10 - 1e-9));
  return whole % 10 == 0 ? std::to_string(whole / 10) : fmt::format("{}.{}", whole / 10, whole % 10);
}

Refusal refuse(api::Cause cause, std::string_view words, std::string_view label, std::int64_t limit, double seconds) {
  return {.error = {.cause = cause,
                    .message = fmt::format("Rate limit reached: {} {}. Please try again in {}s.",
                                           with_separators(limit), words, tenths(seconds))},
          .retry_after = seconds,
          .label = label};
}

/// What `amount` of one kind meets: nothing, or the longest wait of all parties.
void ask(std::optional<Refusal>& refusal, RateBuckets& party, const Kind& kind, std::int64_t amount,
         Clock::time_point now) {
  std::optional<TokenBucket>& bucket = party.*kind.bucket;
  if (!bucket) return;
  const double seconds = bucket->seconds_until(amount, now);
  if (seconds == 0 || (refusal && refusal->retry_after >= seconds)) return;
  const api::Cause cause = kind.bucket == kRequests.bucket ? api::Cause::kTooManyRequests : api::Cause::kTooManyTokens;
  refusal = refuse(cause, kind.words, kind.label, bucket->capacity(), seconds);
}

void take(std::optional<TokenBucket>& bucket, std::int64_t amount) {
  if (bucket) bucket->take(amount);
}

void give_back(std::optional<TokenBucket>& bucket, std::int64_t amount) {
  if (bucket) bucket->give_back(amount);
}

/// Keeps the window with the least left.
void tighten(std::optional<RateWindow>& window, std::optional<TokenBucket>& bucket, Clock::time_point now) {
  if (!bucket) return;
  const std::int64_t remaining = bucket->remaining(now);
  if (window && window->remaining <= remaining) return;
  window = RateWindow{bucket->capacity(), remaining, bucket->seconds_until_full(now)};
}

/// "250ms", "1s", "6m0s", "1h0m5s": rounded up.
std::string duration(double seconds) {
  if (seconds > 0 && seconds < 1) return fmt::format("{}ms", static_cast<std::int64_t>(std::ceil(seconds * 1000)));
  const auto whole = static_cast<std::int64_t>(std::ceil(seconds));
  if (whole < 60) return fmt::format("{}s", whole);
  if (whole < 3600) return fmt::format("{}m{}s", whole / 60, whole % 60);
  return fmt::format("{}h{}m{}s", whole / 3600, whole / 60 % 60, whole % 60);
}

void append_headers(std::vector<Header>& headers, std::string_view what, const std::optional<RateWindow>& window) {
  if (!window) return;
  headers.push_back({fmt::format("x-ratelimit-limit-{}", what), std::to_string(window->limit)});
  headers.push_back({fmt::format("x-ratelimit-remaining-{}", what), std::to_string(window->remaining)});
  headers.push_back({fmt::format("x-ratelimit-reset-{}", what), duration(window->reset)});
}

}  // namespace

RateLease::RateLease(RateLease&& other) noexcept
    : limiter_(std::exchange(other.limiter_, nullptr)),
      parties_(other.parties_),
      input_(other.input_),
      output_(other.output_) {}

RateLease& RateLease::operator=(RateLease&& other) noexcept {
  RateLease old(std::move(*this));
  limiter_ = std::exchange(other.limiter_, nullptr);
  parties_ = other.parties_;
  input_ = other.input_;
  output_ = other.output_;
  return *this;
}

RateLease::~RateLease() { settle(0, 0); }

std::optional<Refusal> RateLease::reserve(std::int64_t prompt_tokens, std::int64_t max_tokens, Clock::time_point now) {
  if (limiter_ == nullptr) return std::nullopt;
  const std::int64_t output = std::min(max_tokens, kMostReservedOutput);
  const std::lock_guard lock(limiter_->mutex_);
  std::optional<Refusal> refusal;
  for (RateBuckets* const party : parties_) {
    ask(refusal, *party, kInput, prompt_tokens, now);
    ask(refusal, *party, kOutput, output, now);
    ask(refusal, *party, kTokensPerDay, prompt_tokens + output, now);
  }
  if (refusal) return refusal;
  for (RateBuckets* const party : parties_) {
    take(party->input, prompt_tokens);
    take(party->output, output);
    take(party->day, prompt_tokens + output);
  }
  input_ = prompt_tokens;
  output_ = output;
  return std::nullopt;
}

void RateLease::settle(std::int64_t prompt_tokens, std::int64_t answer_tokens) {
  if (limiter_ == nullptr) return;
  const std::lock_guard lock(limiter_->mutex_);
  for (RateBuckets* const party : parties_) {
    --party->running;
    give_back(party->input, input_ - prompt_tokens);
    give_back(party->output, output_ - answer_tokens);
    give_back(party->day, input_ + output_ - prompt_tokens - answer_tokens);
  }
  limiter_ = nullptr;
}

RateState RateLease::state(Clock::time_point now) const {
  RateState state;
  if (limiter_ == nullptr) return state;
  const std::lock_guard lock(limiter_->mutex_);
  for (RateBuckets* const party : parties_) {
    tighten(state.requests, party->requests, now);
    for (std::optional<TokenBucket>* const bucket : {&party->input, &party->output, &party->day}) {
      tighten(state.tokens, *bucket, now);
    }
  }
  return state;
}

tl::expected<RateLease, Refusal> RateLimiter::begin(const RateSubject& key, const RateSubject& account,
                                                    Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  RateLease lease;
  lease.parties_ = {&keys_[key.id], &accounts_[account.id]};
  set_limits(*lease.parties_[0], key.limits, now);
  set_limits(*lease.parties_[1], account.limits, now);
  std::optional<Refusal> refusal;
  for (RateBuckets* const party : lease.parties_) {
    ask(refusal, *party, kRequests, 1, now);
    const std::optional<std::int64_t> most = party->limits.concurrent;
    if (most && party->running >= *most && !refusal) {
      refusal = refuse(api::Cause::kTooManyRequests, "requests at a time", "concurrent", *most, 1);
    }
  }
  if (refusal) return tl::unexpected<Refusal>(*std::move(refusal));
  for (RateBuckets* const party : lease.parties_) {
    ++party->running;
    take(party->requests, 1);
  }
  lease.limiter_ = this;
  return lease;
}

std::vector<Header> rate_limit_headers(api::Family family, const RateState& state) {
  std::vector<Header> headers;
  if (family != api::Family::kOpenAi) return headers;
  append_headers(headers, "requests", state.requests);
  append_headers(headers, "tokens", state.tokens);
  return headers;
}

}  // namespace hadal::server
