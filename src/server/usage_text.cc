#include "base/units.h"
#include "base/utc_time.h"
#include "server/text_table.h"
#include "server/usage_report.h"
#include "text/json_text.h"

namespace hadal::server {
namespace {

using text::JsonValue;

/// A column of sums, by its name in tables, and in CSV and JSON.
struct Sum {
  std::string_view heading;
  std::string_view name;
  std::int64_t UsageSums::* value;
};
constexpr std::array<Sum, 8> kSums = {{
    {"requests", "requests", &UsageSums::requests},
    {"prompt", "prompt_tokens", &UsageSums::prompt_tokens},
    {"cached", "cached_tokens", &UsageSums::cached_tokens},
    {"answer", "answer_tokens", &UsageSums::answer_tokens},
    {"reasoning", "reasoning_tokens", &UsageSums::reasoning_tokens},
    {"cancelled", "cancelled", &UsageSums::cancelled},
    {"failed", "failed", &UsageSums::failed},
    {"lost", "lost", &UsageSums::lost},
}};

std::string_view group_name(UsageGroup group) { return kUsageGroupNames[static_cast<std::size_t>(group)]; }

/// What people call the key: its name, or its id when it has none.
const std::string& shown(const std::string& name, const std::string& id) { return name.empty() ? id : name; }

void add_sums(TextRow& row, const UsageSums& sums) {
  for (const Sum& sum : kSums) row.push_back(with_separators(sums.*sum.value));
}

JsonValue sums_tree(JsonValue tree, const UsageSums& sums) {
  for (const Sum& sum : kSums) tree.add(std::string(sum.name), JsonValue::of(sums.*sum.value));
  return tree;
}

std::string state(const UnfinishedRequest& request) { return request.lost ? "lost" : "open"; }

}  // namespace

std::string usage_table(const UsageReport& report) {
  std::vector<TextRow> lines(1);
  for (const UsageGroup group : report.by) lines[0].emplace_back(group_name(group));
  for (const Sum& sum : kSums) lines[0].emplace_back(sum.heading);
  for (const UsageRow& row : report.rows) {
    TextRow line = row.groups;
    for (std::size_t i = 0; i < line.size(); ++i) {
      if (report.by[i] == UsageGroup::kKey) line[i] = shown(row.key_name, row.groups[i]);
    }
    add_sums(line, row.sums);
    lines.push_back(std::move(line));
  }
  TextRow total(report.by.size());
  if (!total.empty()) total.front() = "total";
  add_sums(total, report.total);
  lines.push_back(std::move(total));
  return text_table(lines, report.by.size());
}

std::string usage_csv(const UsageReport& report) {
  std::vector<TextRow> lines(1);
  for (const UsageGroup group : report.by) {
    lines[0].emplace_back(group_name(group));
    if (group == UsageGroup::kKey) lines[0].emplace_back("key_name");
  }
  for (const Sum& sum : kSums) lines[0].emplace_back(sum.name);
  for (const UsageRow& row : report.rows) {
    TextRow line;
    for (std::size_t i = 0; i < report.by.size(); ++i) {
      line.push_back(row.groups[i]);
      if (report.by[i] == UsageGroup::kKey) line.push_back(row.key_name);
    }
    for (const Sum& sum : kSums) line.push_back(std::to_string(row.sums.*sum.value));
    lines.push_back(std::move(line));
  }
  return csv_text(lines);
}

std::string usage_json(const UsageReport& report) {
  JsonValue rows = JsonValue::array();
  for (const UsageRow& row : report.rows) {
    JsonValue tree = JsonValue::object();
    for (std::size_t i = 0; i < report.by.size(); ++i) {
      tree.add(std::string(group_name(report.by[i])), JsonValue::of(row.groups[i]));
      if (report.by[i] == UsageGroup::kKey) tree.add("key_name", JsonValue::of(row.key_name));
    }
    rows.items.push_back(sums_tree(std::move(tree), row.sums));
  }
  JsonValue tree = JsonValue::object();
  tree.add("rows", std::move(rows)).add("total", sums_tree(JsonValue::object(), report.total));
  return text::to_json(tree) + "\n";
}

std::string unfinished_table(const std::vector<UnfinishedRequest>& requests) {
  std::vector<TextRow> lines = {{"time", "state", "request", "account", "key", "model", "prompt"}};
  for (const UnfinishedRequest& request : requests) {
    lines.push_back({utc_text(request.time), state(request), request.id, request.account,
                     shown(request.key_name, request.key), request.model, with_separators(request.prompt_tokens)});
  }
  return text_table(lines, lines.front().size() - 1);
}

std::string unfinished_csv(const std::vector<UnfinishedRequest>& requests) {
  std::vector<TextRow> lines = {
      {"time", "state", "request_id", "account", "key", "key_name", "model", "prompt_tokens"}};
  for (const UnfinishedRequest& request : requests) {
    lines.push_back({utc_text(request.time), state(request), request.id, request.account, request.key, request.key_name,
                     request.model, std::to_string(request.prompt_tokens)});
  }
  return csv_text(lines);
}

std::string unfinished_json(const std::vector<UnfinishedRequest>& requests) {
  JsonValue tree = JsonValue::array();
  for (const UnfinishedRequest& request : requests) {
    JsonValue one = JsonValue::object();
    one.add("time", JsonValue::of(utc_text(request.time))).add("state", JsonValue::of(state(request)));
    one.add("request_id", JsonValue::of(request.id)).add("account", JsonValue::of(request.account));
    one.add("key", JsonValue::of(request.key)).add("key_name", JsonValue::of(request.key_name));
    one.add("model", JsonValue::of(request.model)).add("prompt_tokens", JsonValue::of(request.prompt_tokens));
    tree.items.push_back(std::move(one));
  }
  return text::to_json(tree) + "\n";
}

}  // namespace hadal::server
