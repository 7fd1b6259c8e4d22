// `hadal keys` and `hadal usage` as a person uses them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "base/sha256.h"
#include "base/utc_time.h"
#include "program.h"
#include "server/ledger.h"
#include "testing/temp_directory.h"

namespace hadal::e2e {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing_support::read_text;
using testing_support::TempDirectory;
using testing_support::write_text;

class Accounts : public testing::Test {
 protected:
  Finished keys(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), "keys");
    arguments.insert(arguments.end(), {"--keys", path("keys.json")});
    return run_hadal(arguments);
  }
  json listed() const { return json::parse(keys({"list", "--json"}).out); }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  TempDirectory folder_;
};

TEST_F(Accounts, KeyIsMadeListedRotatedAndRevoked) {
  const Finished made =
      keys({"add", "alice", "--account", "team", "--expires", "2099-01-01", "--permissions", "infer,raw", "--models",
            "deepseek-v4-flash", "--concurrent", "4", "--tokens-per-day", "1000000", "--priority", "-5"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_THAT(made.out, MatchesRegex("sk-[-A-Za-z0-9_]{43}\n"));
  EXPECT_THAT(made.err, HasSubstr("only time"));
  const std::string text = made.out.substr(0, made.out.size() - 1);
  EXPECT_THAT(read_text(folder_ / "keys.json"), HasSubstr(sha256_hex(text)));
  struct stat info{};
  ASSERT_EQ(::stat(path("keys.json").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0600U);

  json key = listed().at(0);
  EXPECT_EQ(key["name"], "alice");
  EXPECT_EQ(key["account"], "team");
  EXPECT_EQ(key["state"], "valid");
  EXPECT_EQ(key["prefix4"], text.substr(3, 4));
  EXPECT_EQ(key["expires"], "2099-01-01T00:00:00Z");
  EXPECT_EQ(key["permissions"], json({"infer", "raw"}));
  EXPECT_EQ(key["models"], json({"deepseek-v4-flash"}));
  EXPECT_EQ(key["rate"], json({{"concurrent", 4}, {"tokens_per_day", 1'000'000}}));
  EXPECT_EQ(key["priority"], -5);
  EXPECT_FALSE(key.contains("hash"));

  const Finished rotated = keys({"rotate", "alice"});
  ASSERT_EQ(rotated.exit_code, 0) << rotated.err;
  EXPECT_NE(rotated.out, made.out);
  EXPECT_EQ(listed().at(0)["id"], key["id"]);

  ASSERT_EQ(keys({"revoke", key["id"].get<std::string>()}).exit_code, 0);
  EXPECT_EQ(listed().at(0)["state"], "revoked");
  const Finished table = keys({"list"});
  EXPECT_THAT(table.out, HasSubstr("alice"));
  EXPECT_THAT(table.out, HasSubstr("concurrent=4 tokens_per_day=1000000"));
  EXPECT_THAT(table.out, HasSubstr("revoked"));
}

TEST_F(Accounts, KeysSayInOneSentenceWhatIsWrong) {
  EXPECT_EQ(keys({"list"}).exit_code, 3);
  ASSERT_EQ(keys({"add", "alice"}).exit_code, 0);
  const Finished twice = keys({"add", "alice"});
  EXPECT_EQ(twice.exit_code, 2);
  EXPECT_THAT(twice.err, HasSubstr("there is a key 'alice' already"));
  EXPECT_EQ(twice.out, "");
  EXPECT_EQ(keys({"revoke", "bob"}).exit_code, 3);
  EXPECT_EQ(keys({"add", "two words"}).exit_code, 2);
  EXPECT_EQ(keys({"add", "bob", "--concurrent", "0"}).exit_code, 2);
  const Finished time = keys({"add", "bob", "--expires", "soon"});
  EXPECT_EQ(time.exit_code, 2);
  EXPECT_THAT(time.err, HasSubstr("--expires: 'soon'"));
  EXPECT_EQ(keys({"add", "bob", "--permissions", "root"}).exit_code, 2);
  EXPECT_EQ(listed().size(), 1U);
  ASSERT_EQ(::chmod(path("keys.json").c_str(), 0644), 0);
  EXPECT_THAT(keys({"list"}).err, HasSubstr("chmod 600"));
  write_text(folder_ / "keys.json", "{");
  ASSERT_EQ(::chmod(path("keys.json").c_str(), 0600), 0);
  const Finished damaged = keys({"add", "carol"});
  EXPECT_EQ(damaged.exit_code, 4);
  EXPECT_EQ(read_text(folder_ / "keys.json"), "{") << "a damaged file is left for repair";
}

TEST_F(Accounts, UsageReadsTheLedger) {
  {
    auto ledger = server::Ledger::open({.path = path("usage.db")});
    ASSERT_TRUE(ledger) << ledger.error().message;
    (*ledger)->finish({.request = {.id = "req_1",
                                   .account = "team",
                                   .key = "key_1",
                                   .key_name = "alice",
                                   .model = "deepseek-v4-flash",
                                   .prompt_tokens = 1000,
                                   .time = server::LedgerTime(*read_utc("2026-11-25"))},
                       .cached_tokens = 128,
                       .answer_tokens = 20});
    ASSERT_TRUE((*ledger)->admit({.id = "req_2", .time = server::LedgerTime(*read_utc("2026-11-25"))}));
  }
  const auto usage = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"usage", "--ledger", path("usage.db")});
    return run_hadal(arguments);
  };
  EXPECT_EQ(usage({"--by", "day,key", "--csv"}).out,
            "day,key,key_name,requests,prompt_tokens,cached_tokens,answer_tokens,reasoning_tokens,cancelled,failed,"
            "lost\r\n2026-11-25,key_1,alice,1,1000,128,20,0,0,0,0\r\n");
  EXPECT_EQ(json::parse(usage({"--json"}).out)["total"]["prompt_tokens"], 1000);
  EXPECT_THAT(usage({}).out, HasSubstr("2026-11-25"));
  EXPECT_EQ(json::parse(usage({"--json", "--since", "2026-11-26"}).out)["total"]["requests"], 0);
  EXPECT_EQ(json::parse(usage({"--lost", "--json"}).out).at(0)["request_id"], "req_2");
  EXPECT_EQ(usage({"--by", "day,day"}).exit_code, 2);
  EXPECT_EQ(usage({"--json", "--csv"}).exit_code, 2);
  EXPECT_EQ(usage({"--until", "now"}).exit_code, 2);
  EXPECT_EQ(run_hadal({"usage", "--ledger", path("none.db")}).exit_code, 3);
}

}  // namespace
}  // namespace hadal::e2e
