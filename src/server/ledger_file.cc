#include "server/ledger_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <array>
#include <string>
#include <utility>

#include "base/system_error.h"

namespace hadal::server {
namespace {

constexpr const char* kSchema = R"(
BEGIN IMMEDIATE;
CREATE TABLE admissions(
  request_id TEXT PRIMARY KEY, time INTEGER NOT NULL, account TEXT NOT NULL, key_id TEXT NOT NULL,
  key_name TEXT NOT NULL, model TEXT NOT NULL, family TEXT NOT NULL, p INTEGER NOT NULL) STRICT;
CREATE TABLE entries(
  request_id TEXT PRIMARY KEY, time INTEGER NOT NULL, account TEXT NOT NULL, key_id TEXT NOT NULL,
  key_name TEXT NOT NULL, model TEXT NOT NULL, family TEXT NOT NULL, p INTEGER NOT NULL, h INTEGER NOT NULL,
  c INTEGER NOT NULL, t INTEGER NOT NULL, ended INTEGER NOT NULL, status TEXT NOT NULL) STRICT;
CREATE INDEX entries_by_time ON entries(time);
)";

constexpr std::string_view kInsertAdmission = "INSERT OR IGNORE INTO admissions VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
constexpr std::string_view kInsertEntry =
    "INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
constexpr std::string_view kDeleteAdmission = "DELETE FROM admissions WHERE request_id = ?";
constexpr std::string_view kCloseLost =
    "INSERT OR IGNORE INTO entries SELECT request_id, time, account, key_id, key_name, model, family, p, 0, 0, 0, ?, "
    "'lost' FROM admissions";

/// An empty file for SQLite, so that others than its owner cannot read it, nor what SQLite puts beside it.
Status touch(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return system_error(path, "open the ledger");
  ::close(fd);
  return {};
}

/// Makes the tables of an empty database and checks those of another.
Status set_up(SqliteDatabase& database, const std::filesystem::path& path) {
  HADAL_TRY(database.execute("PRAGMA synchronous = FULL"));
  HADAL_ASSIGN(const std::int64_t tables, database.integer("SELECT count(*) FROM sqlite_schema"));
  if (tables > 0) HADAL_TRY(check_ledger_version(database, path));
  HADAL_TRY(database.execute("PRAGMA journal_mode = WAL"));
  if (tables > 0) return {};
  const std::string schema = fmt::format("{}PRAGMA application_id = {}; PRAGMA user_version = {}; COMMIT", kSchema,
                                         kLedgerApplication, kLedgerVersion);
  return database.execute(schema.c_str());
}

void bind_request(SqliteStatement& statement, const LedgerRequest& request) {
  statement.bind(1, request.id);
  statement.bind(2, request.time.time_since_epoch().count());
  statement.bind(3, request.account);
  statement.bind(4, request.key);
  statement.bind(5, request.key_name);
  statement.bind(6, request.model);
  statement.bind(7, request.family);
  statement.bind(8, request.prompt_tokens);
}

}  // namespace

std::string_view ledger_status_name(LedgerStatus status) {
  constexpr std::array<std::string_view, 4> kNames = {"ok", "cancelled", "failed", "lost"};
  return kNames[static_cast<std::size_t>(status)];
}

Status check_ledger_version(SqliteDatabase& database, const std::filesystem::path& path) {
  HADAL_ASSIGN(const std::int64_t application, database.integer("PRAGMA application_id"));
  if (application != kLedgerApplication) {
    return fail(ErrorCode::kUnsupported,
                fmt::format("{}: is a database, but no ledger of Hadal; name another file", path.string()));
  }
  HADAL_ASSIGN(const std::int64_t version, database.integer("PRAGMA user_version"));
  if (version == kLedgerVersion) return {};
  return fail(ErrorCode::kUnsupported,
              fmt::format("{}: is a ledger of version {}, this program knows {}; use the program that wrote it",
                          path.string(), version, kLedgerVersion));
}

Result<LedgerFile> LedgerFile::open(const std::filesystem::path& path, std::chrono::milliseconds patience) {
  HADAL_ASSIGN(auto lock, FileLock::attempt(path.string() + ".lock"));
  if (!lock) {
    return fail(ErrorCode::kUnavailable,
                fmt::format("{}: another server writes this ledger; give each a file of its own", path.string()));
  }
  HADAL_TRY(touch(path));
  HADAL_ASSIGN(SqliteDatabase database, SqliteDatabase::open(path, SqliteDatabase::Mode::kWrite, patience));
  HADAL_TRY(set_up(database, path));
  LedgerFile file(*std::move(lock), std::move(database));
  HADAL_ASSIGN(file.admission_, file.database_.prepare(kInsertAdmission));
  HADAL_ASSIGN(file.entry_, file.database_.prepare(kInsertEntry));
  HADAL_ASSIGN(file.close_admission_, file.database_.prepare(kDeleteAdmission));
  return file;
}

Result<std::int64_t> LedgerFile::close_lost(LedgerTime now) {
  HADAL_ASSIGN(const std::int64_t open, database_.integer("SELECT count(*) FROM admissions"));
  if (open == 0) return 0;
  const Status closed = in_transaction([&]() -> Status {
    HADAL_ASSIGN(SqliteStatement close, database_.prepare(kCloseLost));
    close.bind(1, now.time_since_epoch().count());
    HADAL_TRY(close.run());
    return database_.execute("DELETE FROM admissions");
  });
  HADAL_TRY(closed);
  return open;
}

Status LedgerFile::write(std::span<const LedgerRecord> records) {
  return in_transaction([&]() -> Status {
    for (const LedgerRecord& record : records) {
      HADAL_TRY(std::visit([this](const auto& one) { return insert(one); }, record));
    }
    return {};
  });
}

Status LedgerFile::in_transaction(const std::function<Status()>& work) {
  Status status = database_.execute("BEGIN IMMEDIATE");
  if (status) status = work();
  if (status) status = database_.execute("COMMIT");
  if (!status) database_.roll_back();
  return status;
}

Status LedgerFile::insert(const LedgerRequest& request) {
  bind_request(admission_, request);
  return admission_.run();
}

Status LedgerFile::insert(const LedgerEntry& entry) {
  bind_request(entry_, entry.request);
  entry_.bind(9, entry.cached_tokens);
  entry_.bind(10, entry.answer_tokens);
  entry_.bind(11, entry.reasoning_tokens);
  entry_.bind(12, entry.ended.time_since_epoch().count());
  entry_.bind(13, ledger_status_name(entry.status));
  HADAL_TRY(entry_.run());
  close_admission_.bind(1, entry.request.id);
  return close_admission_.run();
}

}  // namespace hadal::server
