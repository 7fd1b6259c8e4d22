#include "server/rate_limits.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace hadal::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// A limiter, one key of one account, and a clock that the test turns.
struct Desk {
  RateLimiter limiter;
  RateSubject key{.id = "key"};
  RateSubject account{.id = "account"};
  Clock::time_point now{};

  tl::expected<RateLease, Refusal> begin() { return limiter.begin(key, account, now); }
  /// The remaining figures of the next request, which ends at once.
  RateState next_state() { return begin()->state(now); }
};

TEST(RateLimits, WithoutLimitsNothingIsCounted) {
  Desk desk;
  std::vector<RateLease> leases;
  for (int i = 0; i < 1000; ++i) {
    auto lease = desk.begin();
    ASSERT_TRUE(lease);
    ASSERT_EQ(lease->reserve(1'000'000, 1'000'000, desk.now), std::nullopt);
    leases.push_back(*std::move(lease));
  }
  EXPECT_EQ(leases.front().state(desk.now).requests, std::nullopt);
  EXPECT_EQ(leases.front().state(desk.now).tokens, std::nullopt);
}

// Check 33 of the list of conformance.
TEST(RateLimits, HoldsTheLimitOfRequestsAtATime) {
  Desk desk;
  desk.key.limits.concurrent = 1;
  auto first = desk.begin();
  ASSERT_TRUE(first);
  const auto second = desk.begin();
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().error.cause, api::Cause::kTooManyRequests);
  EXPECT_EQ(second.error().error.message, "Rate limit reached: 1 requests at a time. Please try again in 1s.");
  EXPECT_EQ(second.error().label, "concurrent");
  EXPECT_GE(retry_after_seconds(second.error().retry_after), 1);
  first->settle(10, 10);
  first->settle(10, 10);  // the end of a request is counted once
  auto third = desk.begin();
  ASSERT_TRUE(third);
  EXPECT_FALSE(desk.begin());
  *third = RateLease();  // a request that goes away without a word
  EXPECT_TRUE(desk.begin());
}

TEST(RateLimits, MovedLeaseIsGivenBackOnce) {
  Desk desk;
  desk.key.limits.concurrent = 2;
  auto one = desk.begin();
  auto two = desk.begin();
  ASSERT_TRUE(one && two);
  {
    RateLease moved = *std::move(one);
    *two = std::move(moved);  // ends what `two` held
  }
  auto next = desk.begin();
  ASSERT_TRUE(next);
  EXPECT_FALSE(desk.begin());
}

TEST(RateLimits, RequestsOfAMinuteRefillByFractions) {
  Desk desk;
  desk.key.limits.requests_per_minute = 3;
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(desk.begin());
  const auto refused = desk.begin();
  ASSERT_FALSE(refused);
  EXPECT_NEAR(refused.error().retry_after, 20.0, 1e-9);
  EXPECT_EQ(refused.error().error.message, "Rate limit reached: 3 requests per minute. Please try again in 20s.");
  EXPECT_EQ(refused.error().label, "requests");
  desk.now += milliseconds(18'500);
  const auto early = desk.begin();
  ASSERT_FALSE(early);
  EXPECT_NE(early.error().error.message.find("Please try again in 1.5s"), std::string::npos)
      << early.error().error.message;
  EXPECT_EQ(retry_after_seconds(early.error().retry_after), 2);
  desk.now += milliseconds(1'500);
  EXPECT_TRUE(desk.begin());
  EXPECT_FALSE(desk.begin());
  desk.now += seconds(3600);  // never more than the limit at once
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(desk.begin());
  EXPECT_FALSE(desk.begin());
}

TEST(RateLimits, RefusalTakesNothingFromTheOtherParty) {
  Desk desk;
  desk.key.limits.requests_per_minute = 1;
  desk.account.limits.requests_per_minute = 2;
  EXPECT_TRUE(desk.begin());
  EXPECT_FALSE(desk.begin());
  EXPECT_FALSE(desk.begin());
  desk.key = {.id = "another key"};  // of the same account, which has one left
  EXPECT_TRUE(desk.begin());
  const auto refused = desk.begin();
  ASSERT_FALSE(refused);
  EXPECT_NEAR(refused.error().retry_after, 30.0, 1e-9);
}

TEST(RateLimits, TellsTheLongestWait) {
  Desk desk;
  desk.key.limits.requests_per_minute = 60;
  desk.account.limits.requests_per_minute = 1;
  EXPECT_TRUE(desk.begin());
  const auto refused = desk.begin();
  ASSERT_FALSE(refused);
  EXPECT_NEAR(refused.error().retry_after, 60.0, 1e-9);
}

TEST(RateLimits, TokensAreReservedAndSettled) {
  Desk desk;
  desk.key.limits = {.input_tokens_per_minute = 1000, .output_tokens_per_minute = 6000, .tokens_per_day = 10'000};
  auto lease = desk.begin();
  ASSERT_TRUE(lease);
  // 400 of 1,000, 4,096 of 6,000 (not 100,000) and 4,496 of 10,000.
  ASSERT_EQ(lease->reserve(400, 100'000, desk.now), std::nullopt);
  EXPECT_EQ(lease->state(desk.now).tokens->limit, 1000);
  EXPECT_EQ(lease->state(desk.now).tokens->remaining, 600);
  auto other = desk.begin();
  const auto input = other->reserve(700, 0, desk.now);
  ASSERT_TRUE(input.has_value());
  EXPECT_EQ(input->error.cause, api::Cause::kTooManyTokens);
  EXPECT_EQ(input->label, "input_tokens");
  EXPECT_NEAR(input->retry_after, 6.0, 1e-9);  // 100 missing of 1,000 a minute
  EXPECT_EQ(input->error.message, "Rate limit reached: 1,000 input tokens per minute. Please try again in 6s.");
  const auto output = other->reserve(0, 2000, desk.now);
  ASSERT_TRUE(output.has_value());
  EXPECT_EQ(output->label, "output_tokens");
  EXPECT_NEAR(output->retry_after, 0.96, 1e-9);  // 96 missing of 6,000 a minute
  lease->settle(400, 100);                       // 3,996 come back
  EXPECT_EQ(other->reserve(600, 5'900, desk.now), std::nullopt);
  EXPECT_EQ(other->state(desk.now).tokens->remaining, 0);
}

TEST(RateLimits, UsedMoreThanReservedIsADebt) {
  Desk desk;
  desk.key.limits.output_tokens_per_minute = 6000;
  auto lease = desk.begin();
  ASSERT_EQ(lease->reserve(0, 10'000, desk.now), std::nullopt);
  lease->settle(0, 9'000);
  const auto refused = desk.begin()->reserve(0, 1, desk.now);
  ASSERT_TRUE(refused.has_value());
  EXPECT_NEAR(refused->retry_after, 30.01, 1e-9);  // 3,000 of debt and the one, 100 a second
  desk.now += milliseconds(30'010);
  EXPECT_EQ(desk.begin()->reserve(0, 1, desk.now), std::nullopt);
}

TEST(RateLimits, LargerThanTheLimitWaitsForAFullBucket) {
  Desk desk;
  desk.account.limits.input_tokens_per_minute = 1000;
  auto lease = desk.begin();
  ASSERT_EQ(lease->reserve(5000, 0, desk.now), std::nullopt);
  lease->settle(5000, 0);
  const auto refused = desk.begin()->reserve(5000, 0, desk.now);
  ASSERT_TRUE(refused.has_value());
  EXPECT_NEAR(refused->retry_after, 300.0, 1e-9);
  desk.now += seconds(300);
  EXPECT_EQ(desk.begin()->reserve(5000, 0, desk.now), std::nullopt);
}

TEST(RateLimits, DayIsLimitedAcrossMinutes) {
  Desk desk;
  desk.key.limits.tokens_per_day = 86'400;
  auto lease = desk.begin();
  ASSERT_EQ(lease->reserve(86'400, 0, desk.now), std::nullopt);
  lease->settle(86'400, 0);
  desk.now += seconds(60);
  const auto refused = desk.begin()->reserve(61, 0, desk.now);
  ASSERT_TRUE(refused.has_value());
  EXPECT_EQ(refused->label, "tokens_per_day");
  EXPECT_NEAR(refused->retry_after, 1.0, 1e-6);
  EXPECT_EQ(desk.begin()->reserve(60, 0, desk.now), std::nullopt);
}

TEST(RateLimits, ChangedLimitHoldsAtOnce) {
  Desk desk;
  desk.key.limits.requests_per_minute = 2;
  EXPECT_TRUE(desk.begin());
  desk.key.limits.requests_per_minute = 4;
  EXPECT_EQ(desk.next_state().requests->remaining, 2);
  desk.key.limits.requests_per_minute = 1;  // two are used already
  EXPECT_FALSE(desk.begin());
  desk.key.limits = {};
  EXPECT_TRUE(desk.begin());
}

// Check 34 of the list of conformance.
TEST(RateLimits, HeadersDecreaseByOne) {
  Desk desk;
  desk.key.limits = {.requests_per_minute = 10, .input_tokens_per_minute = 6000};
  desk.account.limits.requests_per_minute = 100;
  const auto headers = [&](api::Family family) {
    std::vector<std::pair<std::string, std::string>> out;
    for (const Header& header : rate_limit_headers(family, desk.next_state()))
      out.emplace_back(header.name, header.value);
    return out;
  };
  using Pairs = std::vector<std::pair<std::string, std::string>>;
  EXPECT_EQ(headers(api::Family::kOpenAi), (Pairs{{"x-ratelimit-limit-requests", "10"},
                                                  {"x-ratelimit-remaining-requests", "9"},
                                                  {"x-ratelimit-reset-requests", "6s"},
                                                  {"x-ratelimit-limit-tokens", "6000"},
                                                  {"x-ratelimit-remaining-tokens", "6000"},
                                                  {"x-ratelimit-reset-tokens", "0s"}}));
  EXPECT_EQ(headers(api::Family::kOpenAi)[1].second, "8");
  EXPECT_TRUE(headers(api::Family::kDeepSeek).empty());
}

TEST(RateLimits, WritesResetTimesLikeDurations) {
  const auto reset = [](double seconds_left) {
    RateState state;
    state.requests = RateWindow{.limit = 1, .remaining = 0, .reset = seconds_left};
    return rate_limit_headers(api::Family::kOpenAi, state)[2].value;
  };
  EXPECT_EQ(reset(0.25), "250ms");
  EXPECT_EQ(reset(1), "1s");
  EXPECT_EQ(reset(1.2), "2s");
  EXPECT_EQ(reset(360), "6m0s");
  EXPECT_EQ(reset(3605), "1h0m5s");
  EXPECT_EQ(retry_after_seconds(0), 1);
  EXPECT_EQ(retry_after_seconds(2.0000000001), 2);
  EXPECT_EQ(retry_after_seconds(2.1), 3);
}

TEST(RateLimits, ThreadsNeverExceedTheLimit) {
  Desk desk;
  desk.key.limits = {.concurrent = 3, .requests_per_minute = 100};
  std::array<int, 4> admitted{};
  {
    std::vector<std::jthread> threads;
    for (int& count : admitted) {
      threads.emplace_back([&desk, &count] {
        for (int i = 0; i < 200; ++i) {
          const auto lease = desk.limiter.begin(desk.key, desk.account, desk.now);
          count += lease ? 1 : 0;
        }
      });
    }
  }
  int total = admitted[0] + admitted[1] + admitted[2] + admitted[3];
  EXPECT_LE(total, 100);
  while (desk.begin()) ++total;
  EXPECT_EQ(total, 100);
}

}  // namespace
}  // namespace hadal::server
