#pragma once

#include <sys/stat.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/sha256.h"
#include "server/rate_limits.h"

namespace hadal::server {

enum class Permission : std::uint8_t { kInfer, kRaw, kMetrics, kAdmin };

/// The permissions by the names that files and flags use.
inline constexpr std::array<std::string_view, 4> kPermissionNames = {"infer", "raw", "metrics", "admin"};

class Permissions {
 public:
  constexpr Permissions() = default;
  constexpr explicit Permissions(std::initializer_list<Permission> permissions) {
    for (const Permission permission : permissions) add(permission);
  }
  constexpr void add(Permission permission) { bits_ |= bit(permission); }
  [[nodiscard]] constexpr bool has(Permission permission) const { return (bits_ & bit(permission)) != 0; }
  bool operator==(const Permissions&) const = default;

 private:
  static constexpr unsigned bit(Permission permission) { return 1U << static_cast<unsigned>(permission); }
  unsigned bits_ = 0;
};

/// One key as the file holds it: all but the key itself. docs/serving.md describes the fields.
struct Key {
  std::string id;
  std::string name;
  Sha256Digest hash{};
  std::string prefix4;  // of the key, behind "sk-"; to recognise it
  std::chrono::sys_seconds created{};
  std::optional<std::chrono::sys_seconds> expires{};
  std::optional<std::chrono::sys_seconds> revoked{};
  Permissions permissions{Permission::kInfer};
  std::vector<std::string> models{};  // that it may use; empty: all
  RateLimits rate{};
  std::string account;
  std::int64_t priority = 0;  // added to that of its requests; lower ones first

  [[nodiscard]] bool valid(std::chrono::sys_seconds now) const { return !revoked && (!expires || now < *expires); }
};

struct KeyFile {
  std::vector<Key> keys;
  std::map<std::string, RateLimits> accounts;  // limits of those that have any
};

/// Tells one state of a file from another.
struct FileStamp {
  std::uint64_t inode = 0;
  std::int64_t size = -1;
  std::int64_t modified = 0;  // nanoseconds
  std::int64_t changed = 0;

  bool operator==(const FileStamp&) const = default;
};
[[nodiscard]] FileStamp file_stamp(const struct stat& info);

/// Reads the file of keys. Errors: kNotFound; kInvalidArgument (others than its owner may read or write it); kCorrupt
/// (names the field); kUnavailable. `stamp` is set as soon as the file is open, whatever follows.
[[nodiscard]] Result<KeyFile> read_key_file(const std::filesystem::path& path, FileStamp* stamp = nullptr);

/// The file's text, in the order of docs/serving.md.
[[nodiscard]] std::string to_json(const KeyFile& file);

/// Reads the file (a missing one is empty), lets `change` alter it and puts it in its place at once, with mode 0600.
/// Holds FILE.lock meanwhile, so that no other change is lost. Errors: those of reading, of `change`, of writing.
[[nodiscard]] Status change_key_file(const std::filesystem::path& path, const std::function<Status(KeyFile&)>& change);

/// "sk-" and 43 characters of base64url: 256 random bits. Error: kUnavailable.
[[nodiscard]] Result<std::string> make_key_text();

/// What is wished of a new key.
struct NewKey {
  std::string name;
  std::string account;  // empty: the name
  Permissions permissions{Permission::kInfer};
  std::vector<std::string> models{};
  RateLimits rate{};
  std::optional<std::chrono::sys_seconds> expires{};
  std::int64_t priority = 0;
};

/// Adds a key and returns its text, which is kept nowhere. Errors: kInvalidArgument (the name is taken or holds
/// characters other than [A-Za-z0-9._@-]), kUnavailable.
[[nodiscard]] Result<std::string> add_key(KeyFile& file, const NewKey& wish, std::chrono::sys_seconds now);

/// Marks the key of that name or id as revoked. Errors: kNotFound, kInvalidArgument (it is already).
[[nodiscard]] Status revoke_key(KeyFile& file, std::string_view name_or_id, std::chrono::sys_seconds now);

/// Gives the key of that name or id another text, which is returned; the former one is worth nothing from then on.
/// Errors: kNotFound, kInvalidArgument (it is revoked), kUnavailable.
[[nodiscard]] Result<std::string> rotate_key(KeyFile& file, std::string_view name_or_id, std::chrono::sys_seconds now);

}  // namespace hadal::server
