#include "server/usage_report.h"

#include <gtest/gtest.h>

#include "base/utc_time.h"
#include "server/ledger.h"
#include "server/sqlite.h"
#include "server/text_table.h"
#include "testing/temp_directory.h"

namespace hadal::server {
namespace {

using testing_support::TempDirectory;

/// A ledger with known requests of two accounts over two days.
class UsageReportTest : public testing::Test {
 protected:
  void SetUp() override {
    auto ledger = Ledger::open({.path = path_, .group_time = std::chrono::hours(1)});
    ASSERT_TRUE(ledger) << ledger.error().message;
    ASSERT_TRUE((*ledger)->admit(request("req_lost", "2026-11-24T11:00:00Z", "key_2", "bob")));
    ledger->reset();
    ledger = Ledger::open({.path = path_, .group_time = std::chrono::hours(1)});
    ASSERT_TRUE(ledger);
    const auto finish = [&](LedgerRequest made, LedgerStatus status, std::int64_t cached, std::int64_t answer) {
      (*ledger)->finish({.request = std::move(made),
                         .status = status,
                         .cached_tokens = cached,
                         .answer_tokens = answer,
                         .reasoning_tokens = answer / 2});
    };
    finish(request("req_1", "2026-11-24T23:59:59Z", "key_1", "alice"), LedgerStatus::kOk, 768, 200);
    finish(request("req_2", "2026-11-25T00:00:00Z", "key_1", "alice-laptop"), LedgerStatus::kCancelled, 0, 10);
    finish(request("req_3", "2026-11-25T08:00:00Z", "key_2", "bob"), LedgerStatus::kOk, 128, 40);
    finish(request("req_4", "2026-11-25T09:00:00Z", "key_2", "bob"), LedgerStatus::kFailed, 0, 0);
    ASSERT_TRUE((*ledger)->admit(request("req_open", "2026-11-25T10:00:00Z", "key_1", "alice-laptop")));
    ASSERT_TRUE((*ledger)->flush());
    ledger_ = *std::move(ledger);
  }
  static LedgerRequest request(const std::string& id, std::string_view time, const std::string& key,
                               const std::string& name) {
    return {.id = id,
            .account = "team",
            .key = key,
            .key_name = name,
            .model = key == "key_1" ? "deepseek-v4-flash" : "deepseek-v4-pro",
            .family = "openai",
            .prompt_tokens = 1000,
            .time = LedgerTime(*read_utc(time))};
  }
  UsageReport read(const UsageQuery& query) const {
    auto report = read_usage(path_, query);
    EXPECT_TRUE(report) << report.error().message;
    return *std::move(report);
  }

  TempDirectory directory_;
  std::filesystem::path path_ = directory_ / "usage.db";
  std::unique_ptr<Ledger> ledger_;  // a server that still runs
};

constexpr UsageSums kMonday{.requests = 2,
                            .prompt_tokens = 1000,
                            .cached_tokens = 768,
                            .answer_tokens = 200,
                            .reasoning_tokens = 100,
                            .lost = 1};
constexpr UsageSums kTuesday{.requests = 3,
                             .prompt_tokens = 3000,
                             .cached_tokens = 128,
                             .answer_tokens = 50,
                             .reasoning_tokens = 25,
                             .cancelled = 1,
                             .failed = 1};
constexpr UsageSums kAll{.requests = 5,
                         .prompt_tokens = 4000,
                         .cached_tokens = 896,
                         .answer_tokens = 250,
                         .reasoning_tokens = 125,
                         .cancelled = 1,
                         .failed = 1,
                         .lost = 1};

TEST_F(UsageReportTest, SumsByDay) {
  const UsageReport report = read({});
  ASSERT_EQ(report.rows.size(), 2U);
  EXPECT_EQ(report.rows[0].groups, std::vector<std::string>{"2026-11-24"});
  EXPECT_EQ(report.rows[0].sums, kMonday);
  EXPECT_EQ(report.rows[1].groups, std::vector<std::string>{"2026-11-25"});
  EXPECT_EQ(report.rows[1].sums, kTuesday);
  EXPECT_EQ(report.total, kAll);
}

TEST_F(UsageReportTest, SumsByTheOtherGroups) {
  const UsageReport keys = read({.by = {UsageGroup::kKey}});
  ASSERT_EQ(keys.rows.size(), 2U);
  EXPECT_EQ(keys.rows[0].groups, std::vector<std::string>{"key_1"});
  EXPECT_EQ(keys.rows[0].key_name, "alice-laptop") << "the name that it has now";
  EXPECT_EQ(keys.rows[0].sums.answer_tokens, 210);
  EXPECT_EQ(keys.rows[1].key_name, "bob");
  EXPECT_EQ(keys.rows[1].sums.lost, 1);
  EXPECT_EQ(keys.total, kAll);
  const UsageReport accounts = read({.by = {UsageGroup::kAccount}});
  ASSERT_EQ(accounts.rows.size(), 1U);
  EXPECT_EQ(accounts.rows[0].sums, kAll);
  const UsageReport two = read({.by = {UsageGroup::kModel, UsageGroup::kDay}});
  ASSERT_EQ(two.rows.size(), 4U);
  EXPECT_EQ(two.rows[0].groups, (std::vector<std::string>{"deepseek-v4-flash", "2026-11-24"}));
  EXPECT_EQ(two.rows[3].groups, (std::vector<std::string>{"deepseek-v4-pro", "2026-11-25"}));
  EXPECT_EQ(two.rows[3].sums.requests, 2);
  EXPECT_EQ(two.total, kAll);
}

TEST_F(UsageReportTest, CountsASpanOfTime) {
  UsageQuery query{.since = read_utc("2026-11-25T00:00:00Z")};
  EXPECT_EQ(read(query).total, kTuesday);
  query = {.until = read_utc("2026-11-25")};
  EXPECT_EQ(read(query).total, kMonday);
  query = {.since = read_utc("2030-01-01")};
  EXPECT_EQ(read(query).total, UsageSums{});
  EXPECT_TRUE(read(query).rows.empty());
}

TEST_F(UsageReportTest, Table) {
  EXPECT_EQ(usage_table(read({})),
            "day         requests  prompt  cached  answer  reasoning  cancelled  failed  lost\n"
            "2026-11-24         2   1,000     768     200        100          0       0     1\n"
            "2026-11-25         3   3,000     128      50         25          1       1     0\n"
            "total              5   4,000     896     250        125          1       1     1\n");
  EXPECT_EQ(usage_table(read({.by = {UsageGroup::kDay, UsageGroup::kKey}, .since = read_utc("2026-11-25")})),
            "day         key           requests  prompt  cached  answer  reasoning  cancelled  failed  lost\n"
            "2026-11-25  alice-laptop         1   1,000       0      10          5          1       0     0\n"
            "2026-11-25  bob                  2   2,000     128      40         20          0       1     0\n"
            "total                            3   3,000     128      50         25          1       1     0\n");
}

TEST_F(UsageReportTest, CsvAndJson) {
  const UsageReport report = read({.by = {UsageGroup::kKey}, .since = read_utc("2026-11-25")});
  EXPECT_EQ(usage_csv(report),
            "key,key_name,requests,prompt_tokens,cached_tokens,answer_tokens,reasoning_tokens,cancelled,failed,lost\r\n"
            "key_1,alice-laptop,1,1000,0,10,5,1,0,0\r\n"
            "key_2,bob,2,2000,128,40,20,0,1,0\r\n");
  EXPECT_EQ(usage_json(report),
            R"({"rows": [{"key": "key_1", "key_name": "alice-laptop", "requests": 1, "prompt_tokens": 1000, )"
            R"("cached_tokens": 0, "answer_tokens": 10, "reasoning_tokens": 5, "cancelled": 1, "failed": 0, )"
            R"("lost": 0}, {"key": "key_2", "key_name": "bob", "requests": 2, "prompt_tokens": 2000, )"
            R"("cached_tokens": 128, "answer_tokens": 40, "reasoning_tokens": 20, "cancelled": 0, "failed": 1, )"
            R"("lost": 0}], "total": {"requests": 3, "prompt_tokens": 3000, "cached_tokens": 128, )"
            R"("answer_tokens": 50, "reasoning_tokens": 25, "cancelled": 1, "failed": 1, "lost": 0}})"
            "\n");
}

TEST_F(UsageReportTest, ListsRequestsWithoutAnEnd) {
  const auto requests = read_unfinished(path_, {});
  ASSERT_TRUE(requests) << requests.error().message;
  EXPECT_EQ(unfinished_table(*requests),
            "time                  state  request   account  key           model              prompt\n"
            "2026-11-24T11:00:00Z  lost   req_lost  team     bob           deepseek-v4-pro     1,000\n"
            "2026-11-25T10:00:00Z  open   req_open  team     alice-laptop  deepseek-v4-flash   1,000\n");
  EXPECT_EQ(unfinished_csv(*requests),
            "time,state,request_id,account,key,key_name,model,prompt_tokens\r\n"
            "2026-11-24T11:00:00Z,lost,req_lost,team,key_2,bob,deepseek-v4-pro,1000\r\n"
            "2026-11-25T10:00:00Z,open,req_open,team,key_1,alice-laptop,deepseek-v4-flash,1000\r\n");
  const auto later = read_unfinished(path_, {.since = read_utc("2026-11-25")});
  EXPECT_EQ(unfinished_json(*later),
            R"([{"time": "2026-11-25T10:00:00Z", "state": "open", "request_id": "req_open", "account": "team", )"
            R"("key": "key_1", "key_name": "alice-laptop", "model": "deepseek-v4-flash", "prompt_tokens": 1000}])"
            "\n");
}

TEST_F(UsageReportTest, ReadsALedgerThatNobodyHasOpen) {
  ledger_.reset();
  EXPECT_EQ(read({}).total, kAll);
}

TEST(UsageReport, OtherFilesAreRefused) {
  const TempDirectory directory;
  EXPECT_EQ(read_usage(directory / "none.db", {}).error().code, ErrorCode::kNotFound);
  testing_support::write_text(directory / "text.db", std::string(4096, 'x'));
  EXPECT_EQ(read_usage(directory / "text.db", {}).error().code, ErrorCode::kCorrupt);
  testing_support::write_text(directory / "other.db", "");
  ASSERT_TRUE(SqliteDatabase::open(directory / "other.db", SqliteDatabase::Mode::kWrite, std::chrono::seconds(1))
                  ->execute("CREATE TABLE t(x)"));
  EXPECT_EQ(read_usage(directory / "other.db", {}).error().code, ErrorCode::kUnsupported);
}

TEST(TextTable, QuotesCells) {
  EXPECT_EQ(csv_text({{"a,b", "say \"hi\"", "two\nlines", "plain"}}),
            "\"a,b\",\"say \"\"hi\"\"\",\"two\nlines\",plain\r\n");
  EXPECT_EQ(text_table({{"a", "b"}, {"", "-"}}, 2), "a  b\n   -\n");
}

}  // namespace
}  // namespace hadal::server
