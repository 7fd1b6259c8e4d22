#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/result.h"
#include "server/http_message.h"
#include "server/key_file.h"
#include "server/login_guard.h"
#include "server/rate_limits.h"
#include "server/refusal.h"

namespace hadal::server {

/// Who sends a request, and what it may do.
struct Identity {
  RateSubject key;      // id for ledger, log and prefix cache, never the key itself; its limits
  RateSubject account;  // id: its name
  std::string name;     // of the key, for people
  Permissions permissions{};
  std::vector<std::string> models{};  // empty: all
  std::int64_t priority = 0;          // added to that of the request

  [[nodiscard]] bool may(Permission permission) const { return permissions.has(permission); }
  [[nodiscard]] bool may_use(std::string_view model) const;
};

struct KeysOptions {
  std::filesystem::path path;
  RateLimits account_limits{};  // of accounts that the file gives none
};

/// The keys that clients may use. Members may be called from any thread; none but refresh and reload reads files.
class Keys {
 public:
  /// Errors: those of read_key_file.
  [[nodiscard]] static Result<std::unique_ptr<Keys>> open(KeysOptions options);
  /// Without a file: any key or none is `local` and may infer, send raw ids and read metrics.
  [[nodiscard]] static std::unique_ptr<Keys> for_everyone(const RateLimits& limits);
  Keys(const Keys&) = delete;
  Keys& operator=(const Keys&) = delete;

  /// The identity behind `Authorization: Bearer KEY` or `x-api-key: KEY`; of two valid keys, the former's. Refusals:
  /// kNoKey, kWrongKey (unknown, expired or revoked: the client cannot tell which), kTooManyRequests (too many wrong
  /// keys from `address`). Their labels: no_key, unknown, expired, revoked, address.
  [[nodiscard]] tl::expected<Identity, Refusal> authenticate(const RequestHead& head, api::Family family,
                                                             std::string_view address, Clock::time_point now,
                                                             std::chrono::sys_seconds today);
  /// Whether requests of this key may go on; for servers that end those of a revoked key.
  [[nodiscard]] bool active(std::string_view key_id, std::chrono::sys_seconds today) const;

  /// Reads the file again if it has changed; to be called every second. True: other keys hold now. After an error the
  /// former ones stay in force, and the same file is not reported again.
  [[nodiscard]] Result<bool> refresh();
  /// Reads the file again in any case.
  [[nodiscard]] Status reload();
  [[nodiscard]] std::size_t size() const;

 private:
  /// Keys of one reading; never changed.
  struct Table {
    std::vector<Key> keys;
    std::map<std::string, RateLimits> accounts;
    std::unordered_multimap<std::uint64_t, std::size_t> by_hash;  // first 8 bytes of the hash -> index
  };

  explicit Keys(KeysOptions options) : options_(std::move(options)) {}
  /// `stamp`: of the file as it was seen, should it not even open.
  [[nodiscard]] Status read(FileStamp stamp);
  [[nodiscard]] std::shared_ptr<const Table> table() const;
  [[nodiscard]] static const Key* find(const Table& table, std::string_view text);
  [[nodiscard]] Identity identity(const Table& table, const Key& key) const;

  KeysOptions options_;
  bool everyone_ = false;
  LoginGuard guard_;
  mutable std::mutex mutex_;  // guards table_ and stamp_
  std::shared_ptr<const Table> table_;
  FileStamp stamp_{};
};

}  // namespace hadal::server
