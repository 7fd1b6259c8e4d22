#include "server/usage_report.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>
#include <span>
#include <utility>

#include "server/ledger_file.h"
#include "server/sqlite.h"

namespace hadal::server {
namespace {

constexpr std::chrono::seconds kPatience{5};

std::string_view column(UsageGroup group) {
  constexpr std::array<std::string_view, 4> kColumns = {"strftime('%Y-%m-%d', time / 1000, 'unixepoch')", "key_id",
                                                        "model", "account"};
  return kColumns[static_cast<std::size_t>(group)];
}

Result<SqliteDatabase> open_ledger(const std::filesystem::path& path) {
  HADAL_ASSIGN(SqliteDatabase database, SqliteDatabase::open(path, SqliteDatabase::Mode::kRead, kPatience));
  HADAL_TRY(check_ledger_version(database, path));
  return database;
}

/// Sets the parameters of "time >= ? AND time < ?".
void bind_span(SqliteStatement& statement, const UsageQuery& query) {
  const auto bind = [&](int index, const std::optional<std::chrono::sys_seconds>& time, std::int64_t otherwise) {
    statement.bind(index, time ? std::chrono::milliseconds(time->time_since_epoch()).count() : otherwise);
  };
  bind(1, query.since, std::numeric_limits<std::int64_t>::min());
  bind(2, query.until, std::numeric_limits<std::int64_t>::max());
}

void add(UsageSums& total, const UsageSums& row) {
  total.requests += row.requests;
  total.prompt_tokens += row.prompt_tokens;
  total.cached_tokens += row.cached_tokens;
  total.answer_tokens += row.answer_tokens;
  total.reasoning_tokens += row.reasoning_tokens;
  total.cancelled += row.cancelled;
  total.failed += row.failed;
  total.lost += row.lost;
}

std::string sums_statement(const UsageQuery& query) {
  std::string groups;
  for (const UsageGroup group : query.by) groups += fmt::format("{}, ", column(group));
  std::string places = "1";
  for (std::size_t i = 1; i < query.by.size(); ++i) places += fmt::format(", {}", i + 1);
  const std::string grouping = query.by.empty() ? "" : fmt::format(" GROUP BY {0} ORDER BY {0}", places);
  // max(time) makes SQLite take the bare column key_name from the latest row of a group.
  return fmt::format(
      "SELECT {}key_name, max(time), count(*), sum(iif(status = 'lost', 0, p)), sum(h), sum(c), sum(t), "
      "sum(status = 'cancelled'), sum(status = 'failed'), sum(status = 'lost') FROM entries "
      "WHERE time >= ? AND time < ?{} ",
      groups, grouping);
}

UsageRow read_row(const SqliteStatement& statement, const UsageQuery& query) {
  UsageRow row;
  int at = 0;
  for (std::size_t i = 0; i < query.by.size(); ++i) row.groups.push_back(statement.text(at++));
  if (std::ranges::find(query.by, UsageGroup::kKey) != query.by.end()) row.key_name = statement.text(at);
  at += 2;
  for (std::int64_t UsageSums::* sum :
       {&UsageSums::requests, &UsageSums::prompt_tokens, &UsageSums::cached_tokens, &UsageSums::answer_tokens,
        &UsageSums::reasoning_tokens, &UsageSums::cancelled, &UsageSums::failed, &UsageSums::lost}) {
    row.sums.*sum = statement.integer(at++);
  }
  return row;
}

}  // namespace

Result<UsageReport> read_usage(const std::filesystem::path& ledger, const UsageQuery& query) {
  HADAL_ASSIGN(SqliteDatabase database, open_ledger(ledger));
  HADAL_ASSIGN(SqliteStatement statement, database.prepare(sums_statement(query)));
  bind_span(statement, query);
  UsageReport report{.by = query.by, .rows = {}};
  HADAL_ASSIGN(bool row, statement.step());
  while (row) {
    report.rows.push_back(read_row(statement, query));
    add(report.total, report.rows.back().sums);
    HADAL_ASSIGN(row, statement.step());
  }
  return report;
}

Result<std::vector<UnfinishedRequest>> read_unfinished(const std::filesystem::path& ledger, const UsageQuery& query) {
  HADAL_ASSIGN(SqliteDatabase database, open_ledger(ledger));
  HADAL_ASSIGN(SqliteStatement statement,
               database.prepare("SELECT request_id, time / 1000, account, key_id, key_name, model, p, lost FROM ("
                                "SELECT *, 1 AS lost FROM (SELECT request_id, time, account, key_id, key_name, model, "
                                "p FROM entries WHERE status = 'lost') UNION ALL "
                                "SELECT request_id, time, account, key_id, key_name, model, p, 0 FROM admissions) "
                                "WHERE time >= ? AND time < ? ORDER BY time, request_id"));
  bind_span(statement, query);
  std::vector<UnfinishedRequest> requests;
  HADAL_ASSIGN(bool row, statement.step());
  while (row) {
    requests.push_back({.id = statement.text(0),
                        .time = std::chrono::sys_seconds(std::chrono::seconds(statement.integer(1))),
                        .account = statement.text(2),
                        .key = statement.text(3),
                        .key_name = statement.text(4),
                        .model = statement.text(5),
                        .prompt_tokens = statement.integer(6),
                        .lost = statement.integer(7) != 0});
    HADAL_ASSIGN(row, statement.step());
  }
  return requests;
}

}  // namespace hadal::server
