#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hadal::server {

enum class UsageGroup : std::uint8_t { kDay, kKey, kModel, kAccount };

/// The groups by the names that flags use.
inline constexpr std::array<std::string_view, 4> kUsageGroupNames = {"day", "key", "model", "account"};

struct UsageQuery {
  std::vector<UsageGroup> by = {UsageGroup::kDay};  // each once
  std::optional<std::chrono::sys_seconds> since{};  // requests admitted at or after it
  std::optional<std::chrono::sys_seconds> until{};  // and before it
};

/// Sums over requests. Tokens of lost requests are in none of them.
struct UsageSums {
  std::int64_t requests = 0;  // of any status
  std::int64_t prompt_tokens = 0;
  std::int64_t cached_tokens = 0;  // of the prompts
  std::int64_t answer_tokens = 0;
  std::int64_t reasoning_tokens = 0;  // of the answers
  std::int64_t cancelled = 0;         // requests
  std::int64_t failed = 0;
  std::int64_t lost = 0;

  bool operator==(const UsageSums&) const = default;
};

struct UsageRow {
  std::vector<std::string> groups;  // as UsageQuery::by; a key by its id
  std::string key_name{};           // its latest name, when the rows are by key
  UsageSums sums{};
};

struct UsageReport {
  std::vector<UsageGroup> by;
  std::vector<UsageRow> rows;  // in the order of their groups
  UsageSums total{};
};

/// Sums of a ledger, also while a server writes it. Days are those of UTC at admission. Errors: kNotFound,
/// kUnsupported (no ledger, or a newer one), kCorrupt, kUnavailable.
[[nodiscard]] Result<UsageReport> read_usage(const std::filesystem::path& ledger, const UsageQuery& query);

/// A request without an end.
struct UnfinishedRequest {
  std::string id;
  std::chrono::sys_seconds time{};  // of admission
  std::string account, key, key_name, model;
  std::int64_t prompt_tokens = 0;
  bool lost = true;  // false: under way, or not found yet by the next server
};

/// Lost requests and those under way, in the order of their admission; `query.by` has no meaning. Errors as read_usage.
[[nodiscard]] Result<std::vector<UnfinishedRequest>> read_unfinished(const std::filesystem::path& ledger,
                                                                     const UsageQuery& query);

[[nodiscard]] std::string usage_table(const UsageReport& report);
/// One line a row below a line of names; RFC 4180.
[[nodiscard]] std::string usage_csv(const UsageReport& report);
/// {"rows": [...], "total": {...}}
[[nodiscard]] std::string usage_json(const UsageReport& report);

[[nodiscard]] std::string unfinished_table(const std::vector<UnfinishedRequest>& requests);
[[nodiscard]] std::string unfinished_csv(const std::vector<UnfinishedRequest>& requests);
[[nodiscard]] std::string unfinished_json(const std::vector<UnfinishedRequest>& requests);

}  // namespace hadal::server
