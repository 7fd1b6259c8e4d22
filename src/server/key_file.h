#pragma once

#include <sys/stat.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/sha256.h"
#include "server/rate_limits.h"
#include "text/json_text.h"

namespace hadal::server {

enum class Permission : std::uint8_t { kInfer, kRaw, kMetrics, kAdmin };

/// The permissions by the names that files and flags use.
inline constexpr std::array<std::string_view, 4> kPermissionNames = {"infer", "raw", "metrics", "admin"};

class Permissions {
 public:
  constexpr Permissions() = default;
  constexpr Permissions(std::initializer_list<Permission> permissions) {
    for (const Permission permission : permissions) add(permission);
  }
  constexpr void add(Permission permission) { bits_ |= bit(permission); }
  [[nodiscard]] constexpr bool has(Permission permission) const { return (bits_ & bit(permission)) != 0; }
  bool operator==(const Permissions&) const = default;

 private:
  static constexpr unsigned bit(Permission permission) { return 1U << static_cast<unsigned>(permission); }
  unsigned bits_ = 0;
};

/// Their names, in the order of the type.
[[nodiscard]] std::vector<std::string> permission_names(Permissions permissions);

/// One key as the file holds it: all but the key itself. docs/serving.md describes the fields.
struct Key {
  std::string id{};
  std::string name{};
  Sha256Digest hash{};
  std::string prefix4{};  // of the key, behind "sk-"; to recognise it
  std::chrono::sys_seconds created{};
  std::optional<std::chrono::sys_seconds> expires{};
  std::optional<std::chrono::sys_seconds> revoked{};
  Permissions permissions{Permission::kInfer};
  std::vector<std::string> models{};  // that it may use; empty: all
  RateLimits rate{};
  std::string account{};
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

/// A key's fields as the file has them.
[[nodiscard]] text::JsonValue key_tree(const Key& key);

/// The file's text, in the order of docs/serving.md.
[[nodiscard]] std::string to_json(const KeyFile& file);

}  // namespace hadal::server
