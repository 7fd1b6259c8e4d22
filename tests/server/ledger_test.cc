#include "server/ledger.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <map>
#include <thread>
#include <vector>

#include "server/ledger_file.h"
#include "server/sqlite.h"
#include "testing/small_disk.h"
#include "testing/temp_directory.h"

namespace hadal::server {
namespace {

using std::chrono::milliseconds;
using testing_support::SmallDisk;
using testing_support::TempDirectory;
using testing_support::write_text;

LedgerRequest request(const std::string& id) {
  return {.id = id,
          .account = "team",
          .key = "key_1",
          .key_name = "alice",
          .model = "deepseek-v4-flash",
          .family = "openai",
          .prompt_tokens = 100,
          .time = LedgerTime(milliseconds(1'795'615'509'250))};
}

LedgerEntry entry(const std::string& id, LedgerStatus status = LedgerStatus::kOk) {
  return {.request = request(id),
          .status = status,
          .cached_tokens = 64,
          .answer_tokens = 20,
          .reasoning_tokens = 5,
          .ended = LedgerTime(milliseconds(1'795'615'511'000))};
}

class LedgerTest : public testing::Test {
 protected:
  /// Nothing is written before flush() or the end.
  LedgerOptions options() const {
    return {.path = path_,
            .group_time = std::chrono::hours(1),
            .retry_time = std::chrono::hours(1),
            .patience = milliseconds(1)};
  }
  std::unique_ptr<Ledger> open() const {
    auto ledger = Ledger::open(options());
    EXPECT_TRUE(ledger) << ledger.error().message;
    return *std::move(ledger);
  }
  SqliteDatabase database() const {
    auto opened = SqliteDatabase::open(path_, SqliteDatabase::Mode::kWrite, milliseconds(1000));
    EXPECT_TRUE(opened);
    return *std::move(opened);
  }
  std::int64_t count(const char* table) const {
    return database().integer("SELECT count(*) FROM " + std::string(table)).value();
  }
  /// request_id -> status
  std::map<std::string, std::string> entries() const {
    std::map<std::string, std::string> found;
    SqliteDatabase file = database();
    SqliteStatement statement = file.prepare("SELECT request_id, status FROM entries").value();
    while (statement.step().value()) found[statement.text(0)] = statement.text(1);
    return found;
  }
  ErrorCode open_error() const { return Ledger::open(options()).error().code; }

  TempDirectory directory_;
  std::filesystem::path path_ = directory_ / "usage.db";
};

TEST_F(LedgerTest, KeepsAdmissionsUntilTheirEnd) {
  const auto ledger = open();
  ASSERT_TRUE(ledger->admit(request("req_1")));
  ASSERT_TRUE(ledger->admit(request("req_2")));
  EXPECT_EQ(ledger->figures().waiting, 2);
  ASSERT_TRUE(ledger->flush());
  EXPECT_EQ(ledger->figures().waiting, 0);
  EXPECT_EQ(ledger->figures().written, 2);
  EXPECT_EQ(count("admissions"), 2);
  ledger->finish(entry("req_1"));
  ledger->finish(entry("req_2", LedgerStatus::kCancelled));
  ASSERT_TRUE(ledger->flush());
  EXPECT_EQ(count("admissions"), 0);
  EXPECT_EQ(entries(), (std::map<std::string, std::string>{{"req_1", "ok"}, {"req_2", "cancelled"}}));
  SqliteDatabase file = database();
  SqliteStatement row = file.prepare("SELECT * FROM entries WHERE request_id = 'req_1'").value();
  ASSERT_TRUE(row.step().value());
  EXPECT_EQ(row.integer(1), 1'795'615'509'250);
  EXPECT_EQ(row.text(2), "team");
  EXPECT_EQ(row.text(3), "key_1");
  EXPECT_EQ(row.text(4), "alice");
  EXPECT_EQ(row.text(5), "deepseek-v4-flash");
  EXPECT_EQ(row.text(6), "openai");
  EXPECT_EQ(row.integer(7), 100);
  EXPECT_EQ(row.integer(8), 64);
  EXPECT_EQ(row.integer(9), 20);
  EXPECT_EQ(row.integer(10), 5);
  EXPECT_EQ(row.integer(11), 1'795'615'511'000);
}

TEST_F(LedgerTest, EndIsCountedOnce) {
  const auto ledger = open();
  ledger->finish(entry("req_1"));
  LedgerEntry again = entry("req_1", LedgerStatus::kFailed);
  again.answer_tokens = 1000;
  ledger->finish(again);
  ASSERT_TRUE(ledger->flush());
  ledger->finish(again);
  ASSERT_TRUE(ledger->flush());
  EXPECT_EQ(count("entries"), 1);
  EXPECT_EQ(database().integer("SELECT sum(c) FROM entries").value(), 20);
}

TEST_F(LedgerTest, RecordsOfAGroupTimeAreWrittenWithoutBeingAsked) {
  LedgerOptions quick = options();
  quick.group_time = milliseconds(1);
  std::atomic<int> commits = 0;
  quick.on_commit = [&commits](double seconds) {
    EXPECT_GT(seconds, 0);
    ++commits;
    commits.notify_all();
  };
  const auto ledger = Ledger::open(quick);
  ASSERT_TRUE(ledger);
  ASSERT_TRUE((*ledger)->admit(request("req_1")));
  commits.wait(0);
  EXPECT_EQ(count("admissions"), 1);
}

TEST_F(LedgerTest, WritesWhatIsLeftAtTheEnd) {
  {
    const auto ledger = open();
    for (int i = 0; i < 100; ++i) ledger->finish(entry("req_" + std::to_string(i)));
  }
  EXPECT_EQ(count("entries"), 100);
}

TEST_F(LedgerTest, WhatHasNoEndIsLostAtTheNextStart) {
  {
    const auto ledger = open();
    EXPECT_EQ(ledger->figures().lost, 0);
    for (const char* id : {"req_1", "req_2", "req_3"}) ASSERT_TRUE(ledger->admit(request(id)));
    ledger->finish(entry("req_2"));
  }
  const auto ledger = open();
  EXPECT_EQ(ledger->figures().lost, 2);
  EXPECT_EQ(count("admissions"), 0);
  EXPECT_EQ(entries(), (std::map<std::string, std::string>{{"req_1", "lost"}, {"req_2", "ok"}, {"req_3", "lost"}}));
  EXPECT_EQ(database().integer("SELECT sum(c) FROM entries WHERE status = 'lost'").value(), 0);
}

TEST_F(LedgerTest, OneServerAtATime) {
  auto ledger = open();
  ASSERT_TRUE(ledger->admit(request("req_1")));
  ASSERT_TRUE(ledger->flush());
  const auto second = Ledger::open(options());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kUnavailable);
  EXPECT_NE(second.error().message.find("another server writes this ledger"), std::string::npos);
  EXPECT_EQ(count("admissions"), 1) << "a second server must not declare the first one's requests lost";
  ledger.reset();
  EXPECT_TRUE(open());
}

TEST_F(LedgerTest, FullDiskLosesNothing) {
  LedgerOptions small = options();
  small.most_waiting = 3;
  const auto ledger = Ledger::open(small);
  ASSERT_TRUE(ledger);
  ASSERT_TRUE((*ledger)->admit(request("req_0")));
  ASSERT_TRUE((*ledger)->flush());
  {
    const SmallDisk disk(1);
    ASSERT_TRUE((*ledger)->admit(request("req_1")));
    (*ledger)->finish(entry("req_0"));
    const Status status = (*ledger)->flush();
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, ErrorCode::kResourceExhausted) << status.error().message;
    EXPECT_NE(status.error().message.find("usage.db"), std::string::npos) << status.error().message;
    EXPECT_NE(status.error().message.find("free some room"), std::string::npos) << status.error().message;
    EXPECT_EQ((*ledger)->figures().waiting, 2);
    EXPECT_EQ((*ledger)->figures().problem, status.error().message);
    ASSERT_TRUE((*ledger)->admit(request("req_2")));
    const Status refused = (*ledger)->admit(request("req_3"));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable);
    (*ledger)->finish(entry("req_1"));  // what was admitted is always taken
    EXPECT_FALSE((*ledger)->flush());
    EXPECT_EQ((*ledger)->figures().waiting, 4);
    EXPECT_EQ((*ledger)->figures().written, 1);
  }
  ASSERT_TRUE((*ledger)->flush());
  EXPECT_EQ((*ledger)->figures().problem, "");
  EXPECT_EQ((*ledger)->figures().waiting, 0);
  EXPECT_EQ((*ledger)->figures().written, 5);
  EXPECT_TRUE((*ledger)->admit(request("req_3")));
  EXPECT_EQ(entries(), (std::map<std::string, std::string>{{"req_0", "ok"}, {"req_1", "ok"}}));
  EXPECT_EQ(count("admissions"), 1);
}

TEST_F(LedgerTest, WhatTheDiskRefusesToTheEndIsInTheLog) {
  auto ledger = open();
  testing::internal::CaptureStderr();
  {
    const SmallDisk disk(4096);
    ledger->finish(entry("req_unwritten"));
    ledger.reset();
  }
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_NE(log.find("1 records of usage could not be written"), std::string::npos) << log;
  EXPECT_NE(log.find("usage request=req_unwritten time=2026-11-25T14:05:09Z account=team key=key_1 "
                     "model=deepseek-v4-flash family=openai prompt=100 status=ok cached=64 answer=20 reasoning=5"),
            std::string::npos)
      << log;
}

TEST_F(LedgerTest, FullDiskAtTheStart) {
  const SmallDisk disk(1);
  const auto ledger = Ledger::open(options());
  ASSERT_FALSE(ledger);
  EXPECT_EQ(ledger.error().code, ErrorCode::kResourceExhausted) << ledger.error().message;
}

TEST_F(LedgerTest, FileInUseIsWaitedFor) {
  const auto ledger = open();
  SqliteDatabase other = database();
  ASSERT_TRUE(other.execute("BEGIN IMMEDIATE"));
  ledger->finish(entry("req_1"));
  const Status status = ledger->flush();
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kUnavailable);
  EXPECT_NE(status.error().message.find("another program uses the file"), std::string::npos) << status.error().message;
  ASSERT_TRUE(other.execute("COMMIT"));
  EXPECT_TRUE(ledger->flush());
  EXPECT_EQ(count("entries"), 1);
}

TEST_F(LedgerTest, FileInUseAtTheStart) {
  open().reset();
  SqliteDatabase other = database();
  ASSERT_TRUE(other.execute("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; CREATE TABLE t(x); COMMIT"));
  EXPECT_EQ(open_error(), ErrorCode::kUnavailable);
}

TEST_F(LedgerTest, OthersCannotReadIt) {
  const auto ledger = open();
  ledger->finish(entry("req_1"));
  ASSERT_TRUE(ledger->flush());
  for (const auto& file : std::filesystem::directory_iterator(directory_.path())) {
    struct stat info{};
    ASSERT_EQ(::stat(file.path().c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777U, 0600U) << file.path();
  }
}

TEST_F(LedgerTest, OtherFilesAreRefused) {
  write_text(path_, std::string(5000, 'x'));
  const auto damaged = Ledger::open(options());
  ASSERT_FALSE(damaged);
  EXPECT_EQ(damaged.error().code, ErrorCode::kCorrupt);
  EXPECT_NE(damaged.error().message.find("move the file away"), std::string::npos) << damaged.error().message;
  std::filesystem::remove(path_);
  write_text(path_, "");
  ASSERT_TRUE(database().execute("CREATE TABLE accounts(id)"));
  EXPECT_EQ(open_error(), ErrorCode::kUnsupported);
  std::filesystem::remove(path_);
  open().reset();
  ASSERT_TRUE(database().execute("PRAGMA user_version = 2"));
  const auto newer = Ledger::open(options());
  EXPECT_EQ(newer.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(newer.error().message.find("version 2"), std::string::npos) << newer.error().message;
  path_ = directory_ / "missing" / "usage.db";
  EXPECT_EQ(open_error(), ErrorCode::kNotFound);
}

TEST_F(LedgerTest, DamageInsideIsAnErrorAndNothingIsDropped) {
  {
    const auto ledger = open();
    for (int i = 0; i < 400; ++i) ledger->finish(entry("req_" + std::to_string(i)));
  }
  std::string bytes = testing_support::read_text(path_);
  ASSERT_GT(bytes.size(), 20'000U);
  for (std::size_t at = 4096; at < bytes.size(); ++at) bytes[at] = '\x7f';  // all pages but the first
  write_text(path_, bytes);
  auto ledger = Ledger::open(options());
  if (!ledger) {
    EXPECT_EQ(ledger.error().code, ErrorCode::kCorrupt);
    return;
  }
  (*ledger)->finish(entry("req_new"));
  const Status status = (*ledger)->flush();
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kCorrupt) << status.error().message;
  EXPECT_EQ((*ledger)->figures().waiting, 1);
}

TEST_F(LedgerTest, ManyThreads) {
  LedgerOptions quick = options();
  quick.group_time = milliseconds(1);
  const auto ledger = Ledger::open(quick);
  ASSERT_TRUE(ledger);
  {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < 4; ++thread) {
      threads.emplace_back([&ledger, thread] {
        for (int i = 0; i < 250; ++i) {
          const std::string id = "req_" + std::to_string(thread) + "_" + std::to_string(i);
          EXPECT_TRUE((*ledger)->admit(request(id)));
          if (i % 100 == 99) {
            EXPECT_TRUE((*ledger)->flush());
          }
          (*ledger)->finish(entry(id));
        }
      });
    }
  }
  ASSERT_TRUE((*ledger)->flush());
  EXPECT_EQ((*ledger)->figures().written, 2000);
  EXPECT_EQ(count("entries"), 1000);
  EXPECT_EQ(count("admissions"), 0);
}

}  // namespace
}  // namespace hadal::server
