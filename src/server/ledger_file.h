#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string_view>
#include <utility>
#include <variant>

#include "base/file_lock.h"
#include "base/result.h"
#include "server/ledger.h"
#include "server/sqlite.h"

namespace hadal::server {

/// Tells our database from another program's ("Hadl"), and its layout from later ones.
inline constexpr std::int64_t kLedgerApplication = 0x4861646c;
inline constexpr std::int64_t kLedgerVersion = 1;

/// Error when the database is not a ledger of this version: kUnsupported.
[[nodiscard]] Status check_ledger_version(SqliteDatabase& database, const std::filesystem::path& path);

/// An admission or an end.
using LedgerRecord = std::variant<LedgerRequest, LedgerEntry>;

[[nodiscard]] std::string_view ledger_status_name(LedgerStatus status);

/// The ledger's database, for one thread. Its tables stand in docs/serving.md.
class LedgerFile {
 public:
  /// Opens or makes the file and holds FILE.lock. Errors: those of Ledger::open.
  [[nodiscard]] static Result<LedgerFile> open(const std::filesystem::path& path, std::chrono::milliseconds patience);

  /// Makes entries of the status kLost of all open admissions; returns their number.
  [[nodiscard]] Result<std::int64_t> close_lost(LedgerTime now);
  /// Writes all of them, synced, or none.
  [[nodiscard]] Status write(std::span<const LedgerRecord> records);

 private:
  LedgerFile(FileLock lock, SqliteDatabase database) : lock_(std::move(lock)), database_(std::move(database)) {}
  [[nodiscard]] Status in_transaction(const std::function<Status()>& work);
  [[nodiscard]] Status insert(const LedgerRequest& request);
  [[nodiscard]] Status insert(const LedgerEntry& entry);

  FileLock lock_;
  SqliteDatabase database_;
  SqliteStatement admission_;
  SqliteStatement entry_;
  SqliteStatement close_admission_;
};

}  // namespace hadal::server
