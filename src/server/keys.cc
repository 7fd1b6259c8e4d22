#include "server/keys.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/sha256.h"
#include "server/crypto.h"

namespace hadal::server {
namespace {

constexpr std::string_view kLocal = "local";

/// The key of `Bearer KEY`; nothing for another scheme or another form.
std::optional<std::string_view> bearer(std::string_view value) {
  constexpr std::string_view kScheme = "bearer ";
  const bool scheme = value.size() > kScheme.size() &&
                      std::ranges::equal(value.substr(0, kScheme.size()), kScheme, [](char character, char wanted) {
                        return character == wanted || (wanted != ' ' && character == wanted - 'a' + 'A');
                      });
  if (!scheme || value.find(' ', kScheme.size()) != value.npos) return std::nullopt;
  return value.substr(kScheme.size());
}

/// The keys that a request brings, in the order in which they count.
std::vector<std::string_view> keys_of(const RequestHead& head) {
  std::vector<std::string_view> keys;
  if (const auto value = find_header(head.headers, "authorization")) {
    if (const auto key = bearer(*value)) keys.push_back(*key);
  }
  const auto value = find_header(head.headers, "x-api-key");
  if (value && !value->empty()) keys.push_back(*value);
  return keys;
}

std::uint64_t hash_start(const Sha256Digest& hash) {
  std::uint64_t start = 0;
  std::memcpy(&start, hash.data(), sizeof(start));
  return start;
}

/// For the metric and the log; the client is told nothing of it.
std::string_view reason(const Key* key) {
  if (key == nullptr) return "unknown";
  return key->revoked ? "revoked" : "expired";
}

/// State of the file; that of no file when it cannot be looked at.
FileStamp look_at(const std::filesystem::path& path) {
  struct stat info{};
  return ::stat(path.c_str(), &info) == 0 ? file_stamp(info) : FileStamp{};
}

Identity local_identity(const RateLimits& limits) {
  return {.key = {.id = std::string(kLocal)},
          .account = {.id = std::string(kLocal), .limits = limits},
          .name = std::string(kLocal),
          .permissions = Permissions{Permission::kInfer, Permission::kRaw, Permission::kMetrics}};
}

}  // namespace

bool Identity::may_use(std::string_view model) const {
  return models.empty() || std::ranges::find(models, model) != models.end();
}

Result<std::unique_ptr<Keys>> Keys::open(KeysOptions options) {
  std::unique_ptr<Keys> keys(new Keys(std::move(options)));
  HADAL_TRY(keys->reload());
  return keys;
}

std::unique_ptr<Keys> Keys::for_everyone(const RateLimits& limits) {
  std::unique_ptr<Keys> keys(new Keys({.path = {}, .account_limits = limits}));
  keys->everyone_ = true;
  keys->table_ = std::make_shared<const Table>();
  return keys;
}

tl::expected<Identity, Refusal> Keys::authenticate(const RequestHead& head, api::Family family,
                                                   std::string_view address, Clock::time_point now,
                                                   std::chrono::sys_seconds today) {
  if (everyone_) return local_identity(options_.account_limits);
  if (auto refusal = guard_.check(address, now)) return tl::unexpected<Refusal>(*std::move(refusal));
  const std::vector<std::string_view> texts = keys_of(head);
  if (texts.empty()) {
    return tl::unexpected<Refusal>(
        Refusal{.error = {.cause = api::Cause::kNoKey, .message = api::no_key_message(family)}, .label = "no_key"});
  }
  const std::shared_ptr<const Table> known = table();
  const Key* first = nullptr;
  for (const std::string_view text : texts) {
    const Key* const key = find(*known, text);
    if (key != nullptr && key->valid(today)) return identity(*known, *key);
    if (first == nullptr) first = key;
  }
  guard_.failed(address, now);
  return tl::unexpected<Refusal>(
      Refusal{.error = {.cause = api::Cause::kWrongKey, .message = api::wrong_key_message(family, texts.front())},
              .label = reason(first)});
}

bool Keys::active(std::string_view key_id, std::chrono::sys_seconds today) const {
  if (everyone_) return true;
  const std::shared_ptr<const Table> known = table();
  const auto key = std::ranges::find(known->keys, key_id, &Key::id);
  return key != known->keys.end() && key->valid(today);
}

Result<bool> Keys::refresh() {
  if (everyone_) return false;
  const FileStamp stamp = look_at(options_.path);
  {
    const std::lock_guard lock(mutex_);
    if (stamp == stamp_) return false;
  }
  HADAL_TRY(read(stamp));
  return true;
}

Status Keys::reload() { return everyone_ ? Status{} : read(look_at(options_.path)); }

Status Keys::read(FileStamp stamp) {
  auto file = read_key_file(options_.path, &stamp);
  const std::lock_guard lock(mutex_);
  stamp_ = stamp;
  if (!file) return tl::unexpected<Error>(std::move(file).error());
  auto table = std::make_shared<Table>(Table{std::move(file->keys), std::move(file->accounts), {}});
  for (std::size_t i = 0; i < table->keys.size(); ++i) table->by_hash.emplace(hash_start(table->keys[i].hash), i);
  table_ = std::move(table);
  return {};
}

std::size_t Keys::size() const { return table()->keys.size(); }

std::shared_ptr<const Keys::Table> Keys::table() const {
  const std::lock_guard lock(mutex_);
  return table_;
}

const Key* Keys::find(const Table& table, std::string_view text) {
  const Sha256Digest hash = sha256(text);
  const auto [begin, end] = table.by_hash.equal_range(hash_start(hash));
  if (begin == end) (void)equal_in_constant_time(hash, Sha256Digest{});  // an unknown key costs a comparison, too
  const Key* found = nullptr;
  for (auto entry = begin; entry != end; ++entry) {
    const Key& key = table.keys[entry->second];
    if (equal_in_constant_time(hash, key.hash)) found = &key;
  }
  return found;
}

Identity Keys::identity(const Table& table, const Key& key) const {
  const auto account = table.accounts.find(key.account);
  return {.key = {.id = key.id, .limits = key.rate},
          .account = {.id = key.account,
                      .limits = account == table.accounts.end() ? options_.account_limits : account->second},
          .name = key.name,
          .permissions = key.permissions,
          .models = key.models,
          .priority = key.priority};
}

}  // namespace hadal::server
