#include "server/key_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include "api/fields.h"
#include "base/system_error.h"
#include "base/utc_time.h"
#include "text/json_text.h"

namespace hadal::server {
namespace {

using text::JsonKind;
using text::JsonValue;

constexpr std::int64_t kMostBytes = 16 << 20;
constexpr int kMostDepth = 8;
constexpr std::string_view kHexDigits = "0123456789abcdef";

std::string to_hex(const Sha256Digest& digest) {
  std::string hex;
  for (const std::uint8_t byte : digest) {
    hex += kHexDigits[byte >> 4];
    hex += kHexDigits[byte & 15];
  }
  return hex;
}

std::optional<Sha256Digest> read_hex(std::string_view hex) {
  Sha256Digest digest{};
  if (hex.size() != 2 * digest.size() || hex.find_first_not_of(kHexDigits) != std::string_view::npos) {
    return std::nullopt;
  }
  for (std::size_t i = 0; i < digest.size(); ++i) {
    digest[i] = static_cast<std::uint8_t>(kHexDigits.find(hex[2 * i]) << 4 | kHexDigits.find(hex[2 * i + 1]));
  }
  return digest;
}

void note(api::Fields& fields, std::string_view key, std::string_view sentence) {
  fields.error().note(api::Cause::kMalformed, fields.path(key), sentence);
}

/// An unknown field may be a misspelt limit, which must not read as no limit.
void forbid_unknown(api::Fields& fields) {
  if (const auto unknown = fields.unknown()) note(fields, *unknown, "no such field is known");
}

std::string required_text(api::Fields& fields, std::string_view key) {
  const auto text = fields.string(key);
  if (!text || text->empty()) note(fields, key, "expected a text");
  return text.value_or("");
}

std::optional<std::chrono::sys_seconds> read_time(api::Fields& fields, std::string_view key) {
  const auto text = fields.string(key);
  if (!text) return std::nullopt;
  const auto time = read_utc(*text);
  if (!time) note(fields, key, "expected a time such as 2026-11-25T14:00:00Z");
  return time;
}

RateLimits read_limits(const JsonValue* object, const std::string& path, api::FirstError& error) {
  RateLimits limits;
  if (object == nullptr) return limits;
  api::Fields fields(*object, path, error);
  for (const RateLimitField& field : kRateLimitFields) {
    limits.*field.value = fields.integer(field.name, 1, std::int64_t{1} << 50);
  }
  forbid_unknown(fields);
  return limits;
}

std::vector<std::string> read_texts(api::Fields& fields, std::string_view key) {
  std::vector<std::string> texts;
  const JsonValue* const array = fields.array(key);
  if (array == nullptr) return texts;
  for (const JsonValue& item : array->items) {
    if (!item.is(JsonKind::kString)) note(fields, key, "expected an array of texts");
    texts.push_back(item.text);
  }
  if (texts.empty()) note(fields, key, "expected at least one entry");
  return texts;
}

Permissions read_permissions(api::Fields& fields) {
  Permissions permissions;
  for (const std::string& name : read_texts(fields, "permissions")) {
    const auto found = std::ranges::find(kPermissionNames, name);
    if (found == kPermissionNames.end()) {
      note(fields, "permissions", "expected infer, raw, metrics or admin");
    } else {
      permissions.add(static_cast<Permission>(found - kPermissionNames.begin()));
    }
  }
  return permissions;
}

Key read_key(const JsonValue& object, const std::string& path, api::FirstError& error) {
  api::Fields fields(object, path, error);
  Key key{.id = required_text(fields, "id"), .name = required_text(fields, "name")};
  const auto hash = read_hex(required_text(fields, "hash"));
  if (!hash) note(fields, "hash", "expected 64 lower-case hexadecimal digits");
  key.hash = hash.value_or(Sha256Digest{});
  key.prefix4 = fields.string("prefix4").value_or("");
  key.created = read_time(fields, "created").value_or(std::chrono::sys_seconds{});
  key.expires = read_time(fields, "expires");
  key.revoked = read_time(fields, "revoked");
  if (fields.has("permissions")) key.permissions = read_permissions(fields);
  key.models = read_texts(fields, "models");
  key.rate = read_limits(fields.object("rate"), fields.path("rate"), error);
  key.account = fields.string("account").value_or(key.name);
  key.priority = fields.integer("priority", -100, 100).value_or(0);
  forbid_unknown(fields);
  return key;
}

KeyFile read_tree(const JsonValue& tree, api::FirstError& error) {
  KeyFile file;
  api::Fields fields(tree, "", error);
  const JsonValue* const accounts = fields.object("accounts");
  for (const text::JsonMember& account : accounts == nullptr ? std::vector<text::JsonMember>{} : accounts->members) {
    const std::string path = "accounts." + account.key;
    if (!account.value.is(JsonKind::kObject)) {
      error.note(api::Cause::kMalformed, path, "expected object");
      break;
    }
    api::Fields members(account.value, path, error);
    file.accounts[account.key] = read_limits(members.object("rate"), members.path("rate"), error);
    forbid_unknown(members);
  }
  const JsonValue* const keys = fields.array("keys");
  if (keys == nullptr) note(fields, "keys", "expected array");
  std::set<std::string> ids;
  std::set<Sha256Digest> hashes;
  for (std::size_t i = 0; keys != nullptr && i < keys->items.size() && !error.any(); ++i) {
    const std::string path = fmt::format("keys[{}]", i);
    if (!keys->items[i].is(JsonKind::kObject)) {
      error.note(api::Cause::kMalformed, path, "expected object");
      break;
    }
    Key key = read_key(keys->items[i], path, error);
    if (!ids.insert(key.id).second) error.note(api::Cause::kMalformed, path + ".id", "another key has it");
    if (!hashes.insert(key.hash).second) error.note(api::Cause::kMalformed, path + ".hash", "another key has it");
    file.keys.push_back(std::move(key));
  }
  forbid_unknown(fields);
  return file;
}

/// The whole text of an open file.
Result<std::string> read_all(int fd, const std::filesystem::path& path, std::int64_t size) {
  std::string text(static_cast<std::size_t>(size), '\0');
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t count = ::read(fd, text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return system_error(path, "read it");
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  text.resize(done);
  return text;
}

Status check_kind(const struct stat& info, const std::filesystem::path& path) {
  if (!S_ISREG(info.st_mode)) return fail(ErrorCode::kInvalidArgument, path.string() + ": is not a regular file");
  if ((info.st_mode & 077U) != 0) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: others than its owner may use this file of keys (mode {:04o}); chmod 600 it",
                            path.string(), info.st_mode & 07777U));
  }
  if (info.st_size > kMostBytes) {
    return fail(ErrorCode::kCorrupt, fmt::format("{}: {} bytes are too many for a file of keys; is it the right file?",
                                                 path.string(), info.st_size));
  }
  return {};
}

JsonValue limits_tree(const RateLimits& limits) {
  JsonValue tree = JsonValue::object();
  for (const RateLimitField& field : kRateLimitFields) {
    if (limits.*field.value) tree.add(std::string(field.name), JsonValue::of(*(limits.*field.value)));
  }
  return tree;
}

JsonValue texts_tree(const std::vector<std::string>& texts) {
  JsonValue tree = JsonValue::array();
  for (const std::string& text : texts) tree.items.push_back(JsonValue::of(text));
  return tree;
}

}  // namespace

std::vector<std::string> permission_names(Permissions permissions) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < kPermissionNames.size(); ++i) {
    if (permissions.has(static_cast<Permission>(i))) names.emplace_back(kPermissionNames[i]);
  }
  return names;
}

JsonValue key_tree(const Key& key) {
  JsonValue tree = JsonValue::object();
  tree.add("id", JsonValue::of(key.id)).add("name", JsonValue::of(key.name)).add("account", JsonValue::of(key.account));
  tree.add("prefix4", JsonValue::of(key.prefix4)).add("hash", JsonValue::of(to_hex(key.hash)));
  tree.add("created", JsonValue::of(utc_text(key.created)));
  if (key.expires) tree.add("expires", JsonValue::of(utc_text(*key.expires)));
  if (key.revoked) tree.add("revoked", JsonValue::of(utc_text(*key.revoked)));
  tree.add("permissions", texts_tree(permission_names(key.permissions)));
  if (!key.models.empty()) tree.add("models", texts_tree(key.models));
  if (key.rate != RateLimits{}) tree.add("rate", limits_tree(key.rate));
  if (key.priority != 0) tree.add("priority", JsonValue::of(key.priority));
  return tree;
}

FileStamp file_stamp(const struct stat& info) {
  const auto nanoseconds = [](const timespec& time) {
    return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
  };
  return {.inode = info.st_ino,
          .size = info.st_size,
          .modified = nanoseconds(info.st_mtim),
          .changed = nanoseconds(info.st_ctim)};
}

Result<KeyFile> read_key_file(const std::filesystem::path& path, FileStamp* stamp) {
  // O_NONBLOCK: a pipe of that name must not hold the caller up.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return system_error(path, "open the file of keys");
  struct stat info{};
  const bool known = ::fstat(fd, &info) == 0;
  if (known && stamp != nullptr) *stamp = file_stamp(info);
  auto text = known ? check_kind(info, path).and_then([&] { return read_all(fd, path, info.st_size); })
                    : Result<std::string>(system_error(path, "read its size"));
  ::close(fd);
  HADAL_ASSIGN(const std::string json, std::move(text));

  text::JsonLimits limits;
  limits.depth = kMostDepth;
  limits.unique_keys = true;
  const auto tree = text::parse_json(json, limits);
  api::FirstError error;
  KeyFile file;
  if (!tree) {
    error.note_whole(api::Cause::kMalformed, "", tree.error().message);
  } else if (!tree->is(JsonKind::kObject)) {
    error.note_whole(api::Cause::kMalformed, "", "expected one JSON object");
  } else {
    file = read_tree(*tree, error);
  }
  if (error.any()) {
    return fail(ErrorCode::kCorrupt, fmt::format("{}: the file of keys is damaged: {}; correct it or restore a copy",
                                                 path.string(), error.take().value().message));
  }
  return file;
}

std::string to_json(const KeyFile& file) {
  std::string json = "{";
  if (!file.accounts.empty()) {
    JsonValue accounts = JsonValue::object();
    for (const auto& [name, limits] : file.accounts) {
      accounts.add(name, JsonValue::object().add("rate", limits_tree(limits)));
    }
    json += "\"accounts\": " + text::to_json(accounts) + ",\n ";
  }
  json += "\"keys\": [";
  for (std::size_t i = 0; i < file.keys.size(); ++i) {
    json += (i > 0 ? ",\n  " : "\n  ") + text::to_json(key_tree(file.keys[i]));
  }
  return json + "]}\n";
}

}  // namespace hadal::server
