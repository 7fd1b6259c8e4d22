#include "server/key_changes.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "base/file_lock.h"
#include "base/mapped_file.h"
#include "base/sha256.h"
#include "server/crypto.h"

namespace hadal::server {
namespace {

constexpr std::size_t kKeyBytes = 32;
constexpr std::size_t kIdBytes = 8;
constexpr std::size_t kPrefixLength = 4;
constexpr std::size_t kMostNameLength = 64;
constexpr std::string_view kKeyStart = "sk-";
constexpr std::string_view kBase64Url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
constexpr std::string_view kNameCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@-";

/// 6 bits a character, the last one filled up with zeros; no padding.
std::string base64url(std::span<const std::uint8_t> bytes) {
  std::string text;
  unsigned held = 0;
  int bits = 0;
  for (const std::uint8_t byte : bytes) {
    held = held << 8 | byte;
    for (bits += 8; bits >= 6; bits -= 6) text += kBase64Url[held >> (bits - 6) & 63];
  }
  if (bits > 0) text += kBase64Url[held << (6 - bits) & 63];
  return text;
}

Result<std::string> make_id(const KeyFile& file) {
  while (true) {
    std::array<std::uint8_t, kIdBytes> bytes{};
    HADAL_TRY(random_bytes(bytes));
    std::string id = "key_";
    for (const std::uint8_t byte : bytes) id += fmt::format("{:02x}", byte);
    if (std::ranges::find(file.keys, id, &Key::id) == file.keys.end()) return id;
  }
}

Status check_name(std::string_view what, std::string_view name) {
  if (!name.empty() && name.size() <= kMostNameLength && name.find_first_not_of(kNameCharacters) == name.npos) {
    return {};
  }
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("{} '{}': expected 1 to {} characters of A-Z a-z 0-9 . _ @ -", what, name, kMostNameLength));
}

/// The key of that id, or the one of that name that is not revoked, or the last revoked one of that name.
Result<Key*> find(KeyFile& file, std::string_view name_or_id) {
  Key* found = nullptr;
  for (Key& key : file.keys) {
    if (key.id == name_or_id) return &key;
    if (key.name == name_or_id && (found == nullptr || found->revoked)) found = &key;
  }
  if (found != nullptr) return found;
  return fail(ErrorCode::kNotFound,
              fmt::format("there is no key of the name or id '{}'; hadal keys list shows them", name_or_id));
}

void set_text(Key& key, std::string_view text) {
  key.hash = sha256(text);
  key.prefix4 = text.substr(kKeyStart.size(), kPrefixLength);
}

Status check_not_revoked(const Key& key) {
  if (!key.revoked) return {};
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("the key '{}' ({}) is revoked already; hadal keys add makes another one", key.name, key.id));
}

}  // namespace

Status change_key_file(const std::filesystem::path& path, const std::function<Status(KeyFile&)>& change) {
  // A link is followed, so that the file that it names is changed and not the link.
  std::error_code ignored;
  const std::filesystem::path target = std::filesystem::weakly_canonical(path, ignored);
  const std::filesystem::path& real = target.empty() ? path : target;
  HADAL_ASSIGN(const FileLock lock, FileLock::wait(real.string() + ".lock"));
  auto file = read_key_file(real);
  if (!file && file.error().code != ErrorCode::kNotFound) return tl::unexpected<Error>(std::move(file).error());
  KeyFile changed = file ? *std::move(file) : KeyFile{};
  HADAL_TRY(change(changed));
  return write_file_atomically(real, to_json(changed), 0600);
}

Result<std::string> make_key_text() {
  std::array<std::uint8_t, kKeyBytes> bytes{};
  HADAL_TRY(random_bytes(bytes));
  return std::string(kKeyStart) + base64url(bytes);
}

Result<std::string> add_key(KeyFile& file, const NewKey& wish, std::chrono::sys_seconds now) {
  HADAL_TRY(check_name("name", wish.name));
  const std::string account = wish.account.empty() ? wish.name : wish.account;
  HADAL_TRY(check_name("account", account));
  const bool taken =
      std::ranges::any_of(file.keys, [&](const Key& key) { return key.name == wish.name && !key.revoked; });
  if (taken) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("there is a key '{}' already; take another name, or hadal keys rotate it", wish.name));
  }
  HADAL_ASSIGN(const std::string text, make_key_text());
  Key key{.name = wish.name,
          .created = now,
          .expires = wish.expires,
          .permissions = wish.permissions,
          .models = wish.models,
          .rate = wish.rate,
          .account = account,
          .priority = wish.priority};
  HADAL_ASSIGN(key.id, make_id(file));
  set_text(key, text);
  file.keys.push_back(std::move(key));
  return text;
}

Status revoke_key(KeyFile& file, std::string_view name_or_id, std::chrono::sys_seconds now) {
  HADAL_ASSIGN(Key* const key, find(file, name_or_id));
  HADAL_TRY(check_not_revoked(*key));
  key->revoked = now;
  return {};
}

Result<std::string> rotate_key(KeyFile& file, std::string_view name_or_id, std::chrono::sys_seconds now) {
  HADAL_ASSIGN(Key* const key, find(file, name_or_id));
  HADAL_TRY(check_not_revoked(*key));
  HADAL_ASSIGN(std::string text, make_key_text());
  set_text(*key, text);
  key->created = now;
  return text;
}

}  // namespace hadal::server
