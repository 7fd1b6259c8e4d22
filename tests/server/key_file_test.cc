#include "server/key_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <set>
#include <thread>

#include "base/utc_time.h"
#include "server/key_changes.h"
#include "testing/small_disk.h"
#include "testing/temp_directory.h"

namespace hadal::server {
namespace {

using testing_support::read_text;
using testing_support::TempDirectory;
using testing_support::write_text;

const std::chrono::sys_seconds kNow = *read_utc("2026-11-25T14:00:00Z");

class KeyFileTest : public testing::Test {
 protected:
  void write(std::string_view text, mode_t mode = 0600) const {
    write_text(path_, text);
    ASSERT_EQ(::chmod(path_.c_str(), mode), 0);
  }
  std::string problem(std::string_view text) const {
    write(text);
    const auto file = read_key_file(path_);
    if (file) return "";
    EXPECT_EQ(file.error().code, ErrorCode::kCorrupt);
    return file.error().message;
  }
  std::string add(const NewKey& wish) const {
    std::string text;
    const Status status = change_key_file(path_, [&](KeyFile& file) -> Status {
      HADAL_ASSIGN(text, add_key(file, wish, kNow));
      return {};
    });
    EXPECT_TRUE(status) << status.error().message;
    return text;
  }
  unsigned mode() const {
    struct stat info{};
    EXPECT_EQ(::stat(path_.c_str(), &info), 0);
    return info.st_mode & 07777U;
  }

  TempDirectory directory_;
  std::filesystem::path path_ = directory_ / "keys.json";
};

TEST_F(KeyFileTest, WhatIsWrittenIsRead) {
  const NewKey wish{.name = "ci@example.org",
                    .account = "team-a",
                    .permissions = Permissions{Permission::kInfer, Permission::kMetrics},
                    .models = {"deepseek-v4-flash"},
                    .rate = {.concurrent = 4, .tokens_per_day = 1'000'000},
                    .expires = kNow + std::chrono::days(30),
                    .priority = -5};
  const std::string text = add(wish);
  EXPECT_EQ(mode(), 0600U);
  const auto file = read_key_file(path_);
  ASSERT_TRUE(file) << file.error().message;
  ASSERT_EQ(file->keys.size(), 1U);
  const Key& key = file->keys[0];
  EXPECT_EQ(key.name, "ci@example.org");
  EXPECT_EQ(key.account, "team-a");
  EXPECT_EQ(key.hash, sha256(text));
  EXPECT_EQ(key.prefix4, text.substr(3, 4));
  EXPECT_EQ(key.created, kNow);
  EXPECT_EQ(key.expires, kNow + std::chrono::days(30));
  EXPECT_EQ(key.revoked, std::nullopt);
  EXPECT_EQ(key.permissions, wish.permissions);
  EXPECT_EQ(key.models, wish.models);
  EXPECT_EQ(key.rate, wish.rate);
  EXPECT_EQ(key.priority, -5);
  EXPECT_EQ(key.id.size(), 20U);
  EXPECT_TRUE(key.id.starts_with("key_"));
  EXPECT_EQ(to_json(*file), read_text(path_));
}

TEST_F(KeyFileTest, TextOfAKeyIsRandomAndKeptNowhere) {
  std::set<std::string> texts;
  std::set<char> characters;
  for (int i = 0; i < 200; ++i) {
    const auto text = make_key_text();
    ASSERT_TRUE(text);
    EXPECT_EQ(text->size(), 46U);
    EXPECT_TRUE(text->starts_with("sk-"));
    characters.insert(text->begin() + 3, text->end() - 1);
    EXPECT_NE(std::string_view("AEIMQUYcgkosw048").find(text->back()), std::string_view::npos) << "4 bits are left";
    texts.insert(*text);
  }
  EXPECT_EQ(texts.size(), 200U);
  EXPECT_EQ(characters.size(), 64U);  // all of base64url turned up in 8,400 characters
  const std::string text = add({.name = "a"});
  EXPECT_EQ(read_text(path_).find(text.substr(3)), std::string::npos);
}

TEST_F(KeyFileTest, HandWrittenFileNeedsFewFields) {
  const std::string hash = sha256_hex("sk-mine");
  write(R"({"accounts": {"home": {"rate": {"concurrent": 2}}},
            "keys": [{"id": "k1", "name": "me", "hash": ")" +
        hash + R"(", "account": "home"}, {"id": "k2", "name": "you", "hash": ")" + sha256_hex("sk-yours") + R"("}]})");
  const auto file = read_key_file(path_);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->accounts.at("home").concurrent, 2);
  EXPECT_EQ(file->keys[0].hash, sha256("sk-mine"));
  EXPECT_EQ(file->keys[1].account, "you");
  EXPECT_EQ(file->keys[1].permissions, Permissions{Permission::kInfer});
  EXPECT_TRUE(file->keys[1].models.empty());
}

TEST_F(KeyFileTest, OthersMustNotReachIt) {
  for (const mode_t mode : {0640, 0604, 0620, 0610, 0644}) {
    write(R"({"keys": []})", mode);
    const auto file = read_key_file(path_);
    ASSERT_FALSE(file);
    EXPECT_EQ(file.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(file.error().message.find("chmod 600"), std::string::npos) << file.error().message;
  }
  write(R"({"keys": []})", 0400);
  EXPECT_TRUE(read_key_file(path_));
}

TEST_F(KeyFileTest, MissingFileAndOtherKinds) {
  EXPECT_EQ(read_key_file(path_).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(read_key_file(directory_.path()).error().code, ErrorCode::kInvalidArgument);
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  EXPECT_EQ(read_key_file(path_).error().code, ErrorCode::kInvalidArgument);  // and does not wait for a writer
}

TEST_F(KeyFileTest, DamageIsNamed) {
  const std::string good = R"({"id": "k", "name": "n", "hash": ")" + std::string(64, 'a') + R"("})";
  const auto with = [&](std::string_view extra) {
    return R"({"keys": [)" + good.substr(0, good.size() - 1) + ", " + std::string(extra) + "}]}";
  };
  ASSERT_EQ(problem(R"({"keys": [)" + good + "]}"), "");
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "damaged"},
      {"[]", "expected one JSON object"},
      {"{}", "keys: expected array"},
      {R"({"keys": [1]})", "keys[0]: expected object"},
      {R"({"keys": [{"name": "n"}]})", "keys[0].id: expected a text"},
      {R"({"keys": [)" + good + ", " + good + "]}", "keys[1].id: another key has it"},
      {R"({"keys": [{"id": "k", "name": "n", "hash": "abc"}]})", "keys[0].hash: expected 64"},
      {R"({"keys": [{"id": "k", "name": "n", "hash": ")" + std::string(64, 'A') + R"("}]})", "keys[0].hash"},
      {with(R"("expire": "2026-01-01")"), "keys[0].expire: no such field"},
      {with(R"("expires": "tomorrow")"), "keys[0].expires: expected a time"},
      {with(R"("permissions": ["root"])"), "keys[0].permissions: expected infer, raw"},
      {with(R"("permissions": [])"), "keys[0].permissions: expected at least one"},
      {with(R"("models": [3])"), "keys[0].models: expected an array of texts"},
      {with(R"("models": [])"), "keys[0].models: expected at least one"},
      {with(R"("rate": {"concurrent": 0})"), "keys[0].rate.concurrent: expected integer from 1"},
      {with(R"("rate": {"concurent": 1})"), "keys[0].rate.concurent: no such field"},
      {with(R"("rate": {"concurrent": "1"})"), "keys[0].rate.concurrent: expected number"},
      {with(R"("priority": 101)"), "keys[0].priority"},
      {with(R"("id": "k2")"), "a key stands twice"},
      {R"({"keys": [], "acounts": {}})", "acounts: no such field"},
      {R"({"keys": [], "accounts": {"a": 1}})", "accounts.a: expected object"},
      {R"({"keys": [], "accounts": {"a": {"rates": {}}}})", "accounts.a.rates: no such field"},
  };
  for (const auto& [text, expected] : cases) {
    const std::string message = problem(text);
    EXPECT_NE(message.find(expected), std::string::npos) << text << "\n" << message;
    EXPECT_NE(message.find("keys.json"), std::string::npos) << message;
  }
  const std::string whole = R"({"keys": [)" + good + "]}";
  for (std::size_t length = 0; length < whole.size(); ++length) EXPECT_NE(problem(whole.substr(0, length)), "");
}

TEST_F(KeyFileTest, NamesAreTakenUntilRevoked) {
  const std::string first = add({.name = "a"});
  const auto twice =
      change_key_file(path_, [](KeyFile& file) { return add_key(file, {.name = "a"}, kNow).map([](auto&&) {}); });
  ASSERT_FALSE(twice);
  EXPECT_NE(twice.error().message.find("there is a key 'a' already"), std::string::npos);
  ASSERT_TRUE(change_key_file(path_, [](KeyFile& file) { return revoke_key(file, "a", kNow); }));
  const std::string second = add({.name = "a"});
  const auto file = read_key_file(path_);
  ASSERT_EQ(file->keys.size(), 2U);
  EXPECT_EQ(file->keys[0].hash, sha256(first));
  EXPECT_EQ(file->keys[0].revoked, kNow);
  EXPECT_FALSE(file->keys[0].valid(kNow));
  EXPECT_TRUE(file->keys[1].valid(kNow));
  ASSERT_TRUE(change_key_file(path_, [](KeyFile& changed) { return revoke_key(changed, "a", kNow); }));
  EXPECT_FALSE(read_key_file(path_)->keys[1].valid(kNow)) << "the name means the one that is not revoked yet";
}

TEST_F(KeyFileTest, RefusesWhatItCannotDo) {
  (void)add({.name = "a"});
  const std::string before = read_text(path_);
  const auto change = [&](const std::function<Status(KeyFile&)>& what) { return change_key_file(path_, what); };
  for (const char* name : {"", "two words", "a/b", "line\nbreak", "\xc3\xa4"}) {
    const auto status = change([&](KeyFile& file) { return add_key(file, {.name = name}, kNow).map([](auto&&) {}); });
    ASSERT_FALSE(status) << name;
    EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
  }
  EXPECT_EQ(change([](KeyFile& file) { return revoke_key(file, "b", kNow); }).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(read_text(path_), before);
  ASSERT_TRUE(change([](KeyFile& file) { return revoke_key(file, file.keys[0].id, kNow); }));
  EXPECT_NE(change([](KeyFile& file) { return revoke_key(file, "a", kNow); }).error().message.find("revoked already"),
            std::string::npos);
  EXPECT_EQ(change([](KeyFile& file) { return rotate_key(file, "a", kNow).map([](auto&&) {}); }).error().code,
            ErrorCode::kInvalidArgument);
}

TEST_F(KeyFileTest, RotationChangesTheTextOnly) {
  const std::string before = add({.name = "a", .rate = {.concurrent = 3}});
  const Key old_key = read_key_file(path_)->keys[0];
  std::string after;
  ASSERT_TRUE(change_key_file(path_, [&](KeyFile& file) -> Status {
    HADAL_ASSIGN(after, rotate_key(file, "a", kNow + std::chrono::hours(1)));
    return {};
  }));
  EXPECT_NE(after, before);
  const Key key = read_key_file(path_)->keys[0];
  EXPECT_EQ(key.hash, sha256(after));
  EXPECT_EQ(key.id, old_key.id);
  EXPECT_EQ(key.rate.concurrent, 3);
}

TEST_F(KeyFileTest, ChangesAtTheSameTimeAreAllKept) {
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([this, i] { (void)add({.name = "key" + std::to_string(i)}); });
    }
  }
  EXPECT_EQ(read_key_file(path_)->keys.size(), 8U);
}

TEST_F(KeyFileTest, FullDiskLeavesTheFormerFile) {
  for (int i = 0; i < 40; ++i) (void)add({.name = "key" + std::to_string(i)});
  const std::string before = read_text(path_);
  {
    const testing_support::SmallDisk disk(4096);
    const auto status =
        change_key_file(path_, [](KeyFile& file) { return add_key(file, {.name = "new"}, kNow).map([](auto&&) {}); });
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, ErrorCode::kResourceExhausted);
  }
  EXPECT_EQ(read_text(path_), before);
  for (const auto& entry : std::filesystem::directory_iterator(directory_.path())) {
    EXPECT_NE(entry.path().extension(), ".partial");
  }
}

TEST_F(KeyFileTest, LinkStaysALink) {
  (void)add({.name = "a"});
  const auto link = directory_ / "link.json";
  std::filesystem::create_symlink(path_, link);
  ASSERT_TRUE(
      change_key_file(link, [](KeyFile& file) { return add_key(file, {.name = "b"}, kNow).map([](auto&&) {}); }));
  EXPECT_TRUE(std::filesystem::is_symlink(link));
  EXPECT_EQ(read_key_file(path_)->keys.size(), 2U);
}

}  // namespace
}  // namespace hadal::server
