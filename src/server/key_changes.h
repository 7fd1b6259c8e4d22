#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "server/key_file.h"
#include "server/rate_limits.h"

namespace hadal::server {

/// Reads the file (a missing one is empty), lets `change` alter it and puts it in its place at once, with mode 0600.
/// Holds FILE.lock meanwhile, so that no other change is lost. Errors: those of reading, of `change`, of writing.
[[nodiscard]] Status change_key_file(const std::filesystem::path& path, const std::function<Status(KeyFile&)>& change);

/// "sk-" and 43 characters of base64url: 256 random bits. Error: kUnavailable.
[[nodiscard]] Result<std::string> make_key_text();

/// What is wished of a new key.
struct NewKey {
  std::string name;
  std::string account{};  // empty: the name
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
