#include "server/key_list.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <string_view>
#include <utility>
#include <vector>

#include "base/utc_time.h"
#include "server/text_table.h"
#include "text/json_text.h"

namespace hadal::server {
namespace {

using text::JsonValue;

std::string_view state(const Key& key, std::chrono::sys_seconds now) {
  if (key.revoked) return "revoked";
  return key.valid(now) ? "valid" : "expired";
}

std::string limits_text(const RateLimits& limits) {
  std::string text;
  for (const RateLimitField& field : kRateLimitFields) {
    const auto value = limits.*field.value;
    if (value) text += fmt::format("{}{}={}", text.empty() ? "" : " ", field.name, *value);
  }
  return text.empty() ? "-" : text;
}

}  // namespace

std::string keys_table(const KeyFile& file, std::chrono::sys_seconds now) {
  std::vector<TextRow> rows = {
      {"name", "id", "account", "key", "state", "created", "expires", "permissions", "models", "limits"}};
  for (const Key& key : file.keys) {
    rows.push_back({key.name, key.id, key.account, key.prefix4.empty() ? "-" : "sk-" + key.prefix4 + "...",
                    std::string(state(key, now)), utc_text(key.created), key.expires ? utc_text(*key.expires) : "-",
                    fmt::format("{}", fmt::join(permission_names(key.permissions), ",")),
                    key.models.empty() ? "all" : fmt::format("{}", fmt::join(key.models, ",")), limits_text(key.rate)});
  }
  return text_table(rows, rows.front().size());
}

std::string keys_json(const KeyFile& file, std::chrono::sys_seconds now) {
  JsonValue tree = JsonValue::array();
  for (const Key& key : file.keys) {
    JsonValue one = key_tree(key);
    std::erase_if(one.members, [](const text::JsonMember& member) { return member.key == "hash"; });
    one.add("state", JsonValue::of(std::string(state(key, now))));
    tree.items.push_back(std::move(one));
  }
  return text::to_json(tree) + "\n";
}

}  // namespace hadal::server
