#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/utc_time.h"
#include "command.h"
#include "server/usage_report.h"
#include "standard_streams.h"

namespace hadal::apps {
namespace {

struct Options {
  std::string ledger = "usage.db";
  std::vector<std::string> by = {"day"};
  std::string since;
  std::string until;
  bool lost = false;
  bool json = false;
  bool csv = false;
};

Result<std::optional<std::chrono::sys_seconds>> read_time(const std::string& text, std::string_view flag) {
  if (text.empty()) return std::optional<std::chrono::sys_seconds>();
  const auto time = read_utc(text);
  if (time) return time;
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("{}: '{}' is no time such as 2026-11-01 or 2026-11-01T18:00:00Z", flag, text));
}

Result<server::UsageQuery> read_query(const Options& options) {
  server::UsageQuery query{.by = {}};
  for (const std::string& name : options.by) {
    const auto found = std::ranges::find(server::kUsageGroupNames, name);
    const auto group = static_cast<server::UsageGroup>(found - server::kUsageGroupNames.begin());
    if (std::ranges::find(query.by, group) != query.by.end()) {
      return fail(ErrorCode::kInvalidArgument, fmt::format("--by: '{}' stands twice", name));
    }
    query.by.push_back(group);
  }
  HADAL_ASSIGN(query.since, read_time(options.since, "--since"));
  HADAL_ASSIGN(query.until, read_time(options.until, "--until"));
  return query;
}

Status usage(const Options& options) {
  HADAL_ASSIGN(const server::UsageQuery query, read_query(options));
  if (options.lost) {
    HADAL_ASSIGN(const auto requests, server::read_unfinished(options.ledger, query));
    return write_standard_output(options.json  ? server::unfinished_json(requests)
                                 : options.csv ? server::unfinished_csv(requests)
                                               : server::unfinished_table(requests));
  }
  HADAL_ASSIGN(const server::UsageReport report, server::read_usage(options.ledger, query));
  return write_standard_output(options.json  ? server::usage_json(report)
                               : options.csv ? server::usage_csv(report)
                                             : server::usage_table(report));
}

}  // namespace

void add_usage(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  CLI::App* const command = app.add_subcommand("usage", "What the clients of hadal serve used, from its ledger");
  command->add_option("--ledger", options->ledger, "The ledger that hadal serve writes")->capture_default_str();
  CLI::Option* const by =
      command->add_option("--by", options->by, "Rows: day (of UTC), key, model, account, or several")
          ->delimiter(',')
          ->check(CLI::IsMember({"day", "key", "model", "account"}))
          ->capture_default_str();
  command->add_option("--since", options->since, "First day or time (UTC) of the requests that count");
  command->add_option("--until", options->until, "Day or time (UTC) before which they began");
  command->add_flag("--lost", options->lost, "Lists requests that have no end: lost with a server, or under way")
      ->excludes(by);
  CLI::Option* const json = command->add_flag("--json", options->json, "JSON instead of the table");
  command->add_flag("--csv", options->csv, "CSV instead of the table")->excludes(json);
  command->callback([options, &outcome] { outcome.status = usage(*options); });
}

}  // namespace hadal::apps
