#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <string>

#include "base/philox.h"
#include "server/ledger.h"
#include "server/sqlite.h"
#include "testing/temp_directory.h"

namespace hadal::server {
namespace {

using testing_support::TempDirectory;

// A request's figures follow from its number, so that a torn or mixed record shows.
std::int64_t tokens_of(std::int64_t number) { return number * 7 + 3; }

LedgerRequest request(std::int64_t round, std::int64_t number) {
  return {.id = std::to_string(round) + "_" + std::to_string(number),
          .account = "account",
          .key = "key",
          .key_name = "name",
          .model = "model",
          .family = "openai",
          .prompt_tokens = tokens_of(number),
          .time = LedgerTime(std::chrono::milliseconds(number))};
}

/// Admits requests and ends those of odd numbers two later; tells the pipe how many requests are surely on disk.
[[noreturn]] void work_until_killed(const std::filesystem::path& path, std::int64_t round, int pipe) {
  auto ledger = Ledger::open({.path = path, .group_time = std::chrono::milliseconds(1)});
  if (!ledger) ::_exit(1);
  for (std::int64_t number = 0;; ++number) {
    if (!(*ledger)->admit(request(round, number))) ::_exit(2);
    if (const std::int64_t ended = number - 2; ended >= 0 && ended % 2 == 1) {
      (*ledger)->finish({.request = request(round, ended), .answer_tokens = tokens_of(ended) + 1});
    }
    if (number % 5 != 4) continue;
    if (!(*ledger)->flush()) ::_exit(3);
    const std::int64_t sure = number + 1;
    if (::write(pipe, &sure, sizeof(sure)) != sizeof(sure)) ::_exit(4);
  }
}

/// Runs the worker and kills it after its `acknowledgements`-th word, somewhere in what it does next. The number of
/// requests that it knew to be on disk.
std::int64_t run_and_kill(const std::filesystem::path& path, std::int64_t round, std::int64_t acknowledgements) {
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  if (child == 0) work_until_killed(path, round, ends[1]);
  ::close(ends[1]);
  std::int64_t sure = 0;
  for (std::int64_t i = 0; i < acknowledgements; ++i) EXPECT_EQ(::read(ends[0], &sure, sizeof(sure)), 8);
  EXPECT_EQ(::kill(child, SIGKILL), 0);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status)) << "it ended by itself with " << WEXITSTATUS(status);
  // What it said before it died.
  for (std::int64_t more = 0; ::read(ends[0], &more, sizeof(more)) == 8;) sure = more;
  ::close(ends[0]);
  return sure;
}

// Check 189 of the list of conformance.
TEST(LedgerKill, EveryRequestIsThereOnceWhenTheServerDies) {
  const TempDirectory directory;
  const auto path = directory / "usage.db";
  std::int64_t lost = 0;
  for (std::int64_t round = 0; round < 10; ++round) {
    const auto bits = philox({static_cast<std::uint32_t>(round), 0, 0, 0}, {91, 7});
    const std::int64_t sure = run_and_kill(path, round, 1 + bits[0] % 12);
    const auto ledger = Ledger::open({.path = path});
    ASSERT_TRUE(ledger) << ledger.error().message;
    lost += (*ledger)->figures().lost;

    auto database = SqliteDatabase::open(path, SqliteDatabase::Mode::kRead, std::chrono::seconds(1));
    ASSERT_TRUE(database);
    auto check = database->prepare("PRAGMA integrity_check").value();
    ASSERT_TRUE(check.step().value());
    EXPECT_EQ(check.text(0), "ok");
    EXPECT_EQ(database->integer("SELECT count(*) FROM admissions"), 0);

    std::map<std::int64_t, std::string> found;
    auto rows = database->prepare("SELECT request_id, p, c, status FROM entries WHERE request_id GLOB ?").value();
    const std::string of_round = std::to_string(round) + "_*";
    rows.bind(1, of_round);
    while (rows.step().value()) {
      const std::string id = rows.text(0);
      const std::int64_t number = std::stoll(id.substr(id.find('_') + 1));
      EXPECT_TRUE(found.emplace(number, rows.text(3)).second) << id << " stands twice";
      EXPECT_EQ(rows.integer(1), tokens_of(number));
      EXPECT_EQ(rows.integer(2), rows.text(3) == "ok" ? tokens_of(number) + 1 : 0);
    }
    for (std::int64_t number = 0; number < sure; ++number) {
      ASSERT_TRUE(found.contains(number)) << "round " << round << ": request " << number << " of " << sure;
      const bool ended = number % 2 == 1 && number + 2 < sure;
      if (ended) {
        EXPECT_EQ(found[number], "ok") << number;
      }
      if (number % 2 == 0) {
        EXPECT_EQ(found[number], "lost") << number;
      }
    }
  }
  EXPECT_EQ(lost, SqliteDatabase::open(path, SqliteDatabase::Mode::kRead, std::chrono::seconds(1))
                      ->integer("SELECT count(*) FROM entries WHERE status = 'lost'"));
  EXPECT_GT(lost, 20);
}

}  // namespace
}  // namespace hadal::server
