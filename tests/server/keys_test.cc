#include "server/keys.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <thread>

#include "base/utc_time.h"
#include "server/isolation.h"
#include "server/key_changes.h"
#include "testing/temp_directory.h"

namespace hadal::server {
namespace {

using std::chrono::days;
using std::chrono::seconds;
using testing_support::TempDirectory;
using testing_support::write_text;

const std::chrono::sys_seconds kToday = *read_utc("2026-11-25T14:00:00Z");

class KeysTest : public testing::Test {
 protected:
  std::string add(const NewKey& wish) const {
    std::string text;
    EXPECT_TRUE(change_key_file(path_, [&](KeyFile& file) -> Status {
      HADAL_ASSIGN(text, add_key(file, wish, kToday));
      return {};
    }));
    return text;
  }
  void revoke(std::string_view name) const {
    EXPECT_TRUE(change_key_file(path_, [&](KeyFile& file) { return revoke_key(file, name, kToday); }));
  }
  std::unique_ptr<Keys> open(const RateLimits& account_limits = {}) const {
    auto keys = Keys::open({.path = path_, .account_limits = account_limits});
    EXPECT_TRUE(keys);
    return *std::move(keys);
  }
  static RequestHead head(std::vector<Header> headers) {
    return {.method = "POST", .path = "/v1/chat/completions", .headers = std::move(headers)};
  }
  auto ask(Keys& keys, std::vector<Header> headers, api::Family family = api::Family::kOpenAi,
           std::chrono::sys_seconds today = kToday) const {
    return keys.authenticate(head(std::move(headers)), family, "192.0.2.1", now_, today);
  }
  auto bearer(Keys& keys, const std::string& text, api::Family family = api::Family::kOpenAi) const {
    return ask(keys, {{"authorization", "Bearer " + text}}, family);
  }

  TempDirectory directory_;
  std::filesystem::path path_ = directory_ / "keys.json";
  Clock::time_point now_{};
};

TEST_F(KeysTest, TellsWhoAsks) {
  const std::string text = add({.name = "alice",
                                .account = "team",
                                .permissions = Permissions{Permission::kInfer, Permission::kAdmin},
                                .models = {"deepseek-v4-flash"},
                                .rate = {.concurrent = 2},
                                .priority = 7});
  (void)add({.name = "bob"});
  const auto keys = open({.concurrent = 500});
  EXPECT_EQ(keys->size(), 2U);
  const auto identity = bearer(*keys, text);
  ASSERT_TRUE(identity);
  EXPECT_EQ(identity->name, "alice");
  EXPECT_TRUE(identity->key.id.starts_with("key_"));
  EXPECT_EQ(identity->key.limits.concurrent, 2);
  EXPECT_EQ(identity->account.id, "team");
  EXPECT_EQ(identity->account.limits.concurrent, 500);
  EXPECT_EQ(identity->priority, 7);
  EXPECT_TRUE(identity->may(Permission::kAdmin));
  EXPECT_FALSE(identity->may(Permission::kRaw));
  EXPECT_TRUE(identity->may_use("deepseek-v4-flash"));
  EXPECT_FALSE(identity->may_use("deepseek-v4-pro"));
}

TEST_F(KeysTest, AccountOfTheFileHasItsOwnLimits) {
  const std::string text = add({.name = "alice"});
  ASSERT_TRUE(change_key_file(path_, [](KeyFile& file) -> Status {
    file.accounts["alice"] = {.requests_per_minute = 10};
    return {};
  }));
  const auto identity = bearer(*open({.concurrent = 500}), text);
  ASSERT_TRUE(identity);
  EXPECT_EQ(identity->account.limits, (RateLimits{.requests_per_minute = 10}));
  EXPECT_TRUE(identity->may_use("any"));
}

// Checks 25, 26, 29 and 30 of the list of conformance.
TEST_F(KeysTest, HeadersThatBringAKey) {
  const std::string text = add({.name = "alice"});
  const auto keys = open();
  for (const auto& header : std::vector<Header>{{"authorization", "Bearer " + text},
                                                {"authorization", "bearer " + text},
                                                {"authorization", "BEARER " + text},
                                                {"x-api-key", text}}) {
    EXPECT_TRUE(ask(*keys, {header})) << header.name << ": " << header.value;
  }
  for (const auto& header : std::vector<Header>{{"authorization", text},
                                                {"authorization", "Bearer  " + text},
                                                {"authorization", "Bearer"},
                                                {"authorization", "Bearer " + text + " "},
                                                {"authorization", "Basic " + text},
                                                {"x-api-key", ""},
                                                {"api-key", text},
                                                {"cookie", text}}) {
    const auto refusal = ask(*keys, {header});
    ASSERT_FALSE(refusal) << header.name << ": " << header.value;
    EXPECT_EQ(refusal.error().error.cause, api::Cause::kNoKey);
    EXPECT_EQ(refusal.error().label, "no_key");
  }
  RequestHead query = head({});
  query.query = "key=" + text + "&api_key=" + text;
  EXPECT_FALSE(keys->authenticate(query, api::Family::kOpenAi, "192.0.2.1", now_, kToday));
  EXPECT_EQ(ask(*keys, {}, api::Family::kDeepSeek).error().error.message, "Authentication Fails (governor)");
}

TEST_F(KeysTest, WrongKeyIsNotRepeatedToTheClient) {
  const std::string text = add({.name = "alice"});
  const auto keys = open();
  std::string wrong = text;
  wrong.back() = wrong.back() == 'A' ? 'E' : 'A';
  const auto refusal = bearer(*keys, wrong, api::Family::kDeepSeek);
  ASSERT_FALSE(refusal);
  EXPECT_EQ(refusal.error().error.cause, api::Cause::kWrongKey);
  EXPECT_EQ(refusal.error().label, "unknown");
  EXPECT_EQ(refusal.error().error.message,
            "Authentication Fails, Your api key: ****" + wrong.substr(wrong.size() - 4) + " is invalid");
  EXPECT_EQ(bearer(*keys, wrong).error().error.message.find(wrong.substr(3, 8)), std::string::npos);
  EXPECT_FALSE(bearer(*keys, text.substr(0, text.size() - 1)));
  EXPECT_FALSE(bearer(*keys, text + "A"));
  EXPECT_FALSE(bearer(*keys, sha256_hex(text))) << "the hash of the file is no key";
}

TEST_F(KeysTest, OfTwoKeysTheBearerCounts) {
  const std::string alice = add({.name = "alice"});
  const std::string bob = add({.name = "bob"});
  const auto keys = open();
  EXPECT_EQ(ask(*keys, {{"x-api-key", bob}, {"authorization", "Bearer " + alice}})->name, "alice");
  EXPECT_EQ(ask(*keys, {{"x-api-key", bob}, {"authorization", "Bearer sk-placeholder"}})->name, "bob");
  EXPECT_FALSE(ask(*keys, {{"x-api-key", "sk-x"}, {"authorization", "Bearer sk-placeholder"}}));
}

TEST_F(KeysTest, ExpiredKeyIsWorthNothing) {
  const std::string text = add({.name = "alice", .expires = kToday + days(1)});
  const auto keys = open();
  const std::vector<Header> headers = {{"authorization", "Bearer " + text}};
  const auto identity = ask(*keys, headers, api::Family::kOpenAi, kToday + days(1) - seconds(1));
  ASSERT_TRUE(identity);
  EXPECT_TRUE(keys->active(identity->key.id, kToday));
  EXPECT_FALSE(keys->active(identity->key.id, kToday + days(1)));
  const auto refusal = ask(*keys, headers, api::Family::kOpenAi, kToday + days(1));
  ASSERT_FALSE(refusal);
  EXPECT_EQ(refusal.error().label, "expired");
  EXPECT_EQ(refusal.error().error.message, bearer(*keys, "sk-unknown").error().error.message);
}

// Check 31 of the list of conformance.
TEST_F(KeysTest, ChangesOfTheFileHoldWithTheNextLook) {
  const std::string alice = add({.name = "alice"});
  const auto keys = open();
  EXPECT_EQ(keys->refresh(), false);
  const std::string id = bearer(*keys, alice)->key.id;
  const std::string bob = add({.name = "bob"});
  EXPECT_FALSE(bearer(*keys, bob));
  EXPECT_EQ(keys->refresh(), true);
  EXPECT_EQ(keys->refresh(), false);
  EXPECT_TRUE(bearer(*keys, bob));
  revoke("alice");
  EXPECT_TRUE(bearer(*keys, alice));
  EXPECT_TRUE(keys->active(id, kToday));
  EXPECT_EQ(keys->refresh(), true);
  EXPECT_EQ(bearer(*keys, alice).error().label, "revoked");
  EXPECT_FALSE(keys->active(id, kToday));
}

TEST_F(KeysTest, DamagedFileLeavesTheFormerKeysInForce) {
  const std::string text = add({.name = "alice"});
  const auto keys = open();
  write_text(path_, R"({"keys": [{"id": )");
  const auto damaged = keys->refresh();
  ASSERT_FALSE(damaged);
  EXPECT_EQ(damaged.error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(keys->refresh(), false) << "said once";
  EXPECT_FALSE(keys->reload()) << "but always when asked for";
  EXPECT_TRUE(bearer(*keys, text));
  std::filesystem::remove(path_);
  EXPECT_EQ(keys->refresh().error().code, ErrorCode::kNotFound);
  EXPECT_EQ(keys->refresh(), false);
  EXPECT_TRUE(bearer(*keys, text));
  const std::string bob = add({.name = "bob"});  // a new file
  EXPECT_EQ(keys->refresh(), true);
  EXPECT_FALSE(bearer(*keys, text));
  EXPECT_TRUE(bearer(*keys, bob));
  ASSERT_EQ(::chmod(path_.c_str(), 0644), 0);
  EXPECT_EQ(keys->refresh().error().code, ErrorCode::kInvalidArgument);
  EXPECT_TRUE(bearer(*keys, bob));
  EXPECT_EQ(Keys::open({.path = path_}).error().code, ErrorCode::kInvalidArgument);
}

TEST_F(KeysTest, WithoutAFileEverybodyIsLocal) {
  const auto keys = Keys::for_everyone({.concurrent = 9});
  for (const auto& headers : std::vector<std::vector<Header>>{{}, {{"authorization", "Bearer anything"}}}) {
    const auto identity = ask(*keys, headers);
    ASSERT_TRUE(identity);
    EXPECT_EQ(identity->key.id, "local");
    EXPECT_EQ(identity->account.id, "local");
    EXPECT_EQ(identity->account.limits.concurrent, 9);
    EXPECT_TRUE(identity->may(Permission::kRaw));
    EXPECT_FALSE(identity->may(Permission::kAdmin));
  }
  EXPECT_EQ(keys->refresh(), false);
  EXPECT_TRUE(keys->reload());
  EXPECT_TRUE(keys->active("local", kToday));
}

TEST_F(KeysTest, AddressThatTriesTooOftenIsRefused) {
  const std::string text = add({.name = "alice"});
  const auto keys = open();
  const auto attempt = [&](const std::string& key, std::string_view address) {
    return keys->authenticate(head({{"authorization", "Bearer " + key}}), api::Family::kOpenAi, address, now_, kToday);
  };
  for (int i = 0; i < 20; ++i) EXPECT_EQ(attempt("sk-wrong", "192.0.2.1").error().label, "unknown");
  for (const std::string& key : {std::string("sk-wrong"), text}) {
    const auto refusal = attempt(key, "192.0.2.1");
    ASSERT_FALSE(refusal);
    EXPECT_EQ(refusal.error().error.cause, api::Cause::kTooManyRequests);
    EXPECT_EQ(refusal.error().label, "address");
    EXPECT_NEAR(refusal.error().retry_after, 3.0, 1e-9);
    EXPECT_EQ(refusal.error().error.message, "Too many wrong API keys from this address. Please try again in 3s.");
  }
  EXPECT_TRUE(attempt(text, "192.0.2.2"));
  now_ += seconds(3);
  EXPECT_TRUE(attempt(text, "192.0.2.1"));
  EXPECT_EQ(attempt("sk-wrong", "::ffff:192.0.2.1").error().label, "unknown");
  EXPECT_FALSE(attempt(text, "192.0.2.1")) << "one address, in two spellings";
}

TEST_F(KeysTest, RequestsWithoutAKeyAreNoAttempts) {
  const std::string text = add({.name = "alice"});
  const auto keys = open();
  for (int i = 0; i < 100; ++i) EXPECT_EQ(ask(*keys, {}).error().label, "no_key");
  EXPECT_TRUE(bearer(*keys, text));
}

TEST(LoginGuard, NetworkOfIpv6CountsAsOne) {
  LoginGuard guard;
  const Clock::time_point now{};
  for (int i = 0; i < 20; ++i) guard.failed("2001:db8:0:1::" + std::to_string(i), now);
  EXPECT_EQ(guard.size(), 1U);
  EXPECT_TRUE(guard.check("2001:db8:0:1:ffff::1", now));
  EXPECT_FALSE(guard.check("2001:db8:0:2::1", now));
  EXPECT_FALSE(guard.check("fe80::1%eth0", now));
  for (int i = 0; i < 20; ++i) guard.failed("unix", now);
  EXPECT_TRUE(guard.check("unix", now));
}

TEST(LoginGuard, MemoryIsBoundedAndKeepsTheWorst) {
  LoginGuard guard;
  Clock::time_point now{};
  for (int i = 0; i < 20; ++i) guard.failed("198.51.100.1", now);
  for (int i = 0; i < 10'000; ++i) {
    guard.failed("10.0." + std::to_string(i / 256) + "." + std::to_string(i % 256), now);
  }
  EXPECT_EQ(guard.size(), 4096U);
  EXPECT_TRUE(guard.check("198.51.100.1", now));
  now += std::chrono::minutes(2);
  guard.failed("203.0.113.1", now);
  EXPECT_EQ(guard.size(), 1U) << "who has tried nothing for a minute is forgotten";
}

TEST(Isolation, DomainsAreApart) {
  using enum CacheIsolation;
  const auto plain = prefix_domain(kKey, "key_1", "", "");
  EXPECT_EQ(prefix_domain(kKey, "key_1", "ann", ""), plain);
  EXPECT_FALSE(prefix_domain(kKey, "key_2", "", "") == plain);
  EXPECT_FALSE(prefix_domain(kKey, "key_1", "", "salt") == plain);
  EXPECT_EQ(prefix_domain(kUser, "key_1", "", ""), plain);
  EXPECT_FALSE(prefix_domain(kUser, "key_1", "ann", "") == plain);
  EXPECT_FALSE(prefix_domain(kUser, "key_1", "ann", "") == prefix_domain(kUser, "key_1", "bob", ""));
  EXPECT_FALSE(prefix_domain(kUser, "key_1", "ann", "") == prefix_domain(kUser, "key_1", "", "ann"));
  EXPECT_FALSE(prefix_domain(kUser, "key_1", "2:3:", "") == prefix_domain(kUser, "key_12:3:", "", ""));
  EXPECT_EQ(prefix_domain(kNone, "key_1", "ann", ""), prefix_domain(kNone, "key_2", "bob", ""));
  EXPECT_FALSE(prefix_domain(kNone, "key_1", "", "salt") == prefix_domain(kNone, "key_1", "", ""));
}

TEST_F(KeysTest, ThreadsAskWhileTheFileChanges) {
  const std::string text = add({.name = "alice"});
  const auto keys = open();
  std::atomic<bool> stop = false;
  std::atomic<int> refused = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 2; ++i) {
      threads.emplace_back([&] {
        while (!stop) refused += bearer(*keys, text) ? 0 : 1;
      });
    }
    for (int i = 0; i < 20; ++i) {
      (void)add({.name = "key" + std::to_string(i)});
      EXPECT_EQ(keys->refresh(), true);
    }
    stop = true;
  }
  EXPECT_EQ(refused, 0);
  EXPECT_EQ(keys->size(), 21U);
}

}  // namespace
}  // namespace hadal::server
