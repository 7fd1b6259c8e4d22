#include "server/sqlite.h"

#include <fmt/core.h>
#include <sqlite3.h>

#include <cerrno>

namespace hadal::server {
namespace {

constexpr int kPrimaryCode = 0xff;  // without the extension

bool means_full(int number) { return number == ENOSPC || number == EDQUOT || number == EFBIG; }

/// Whether the failed call met a full disk. SQLite knows one of the system's numbers for it; the others are found with
/// the files themselves.
bool met_full_disk(sqlite3* database) {
  const int code = sqlite3_errcode(database) & kPrimaryCode;
  if (code != SQLITE_IOERR) return code == SQLITE_FULL;
  if (means_full(sqlite3_system_errno(database))) return true;
  for (const int which : {SQLITE_FCNTL_FILE_POINTER, SQLITE_FCNTL_JOURNAL_POINTER}) {
    sqlite3_file* file = nullptr;
    int number = 0;
    if (sqlite3_file_control(database, "main", which, &file) == SQLITE_OK && file != nullptr &&
        file->pMethods != nullptr &&
        file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &number) == SQLITE_OK && means_full(number)) {
      return true;
    }
  }
  return false;
}

/// What the last call on `database` met.
tl::unexpected<Error> failure(sqlite3* database) {
  const int code = sqlite3_errcode(database) & kPrimaryCode;
  const char* const path = sqlite3_db_filename(database, "main");
  const auto say = [&](ErrorCode error, std::string_view advice) {
    return fail(error, fmt::format("{}: {}{}", path == nullptr ? "" : path, sqlite3_errmsg(database), advice));
  };
  if (met_full_disk(database)) return say(ErrorCode::kResourceExhausted, "; free some room on the disk");
  switch (code) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return say(ErrorCode::kUnavailable, "; another program uses the file, end it");
    case SQLITE_CANTOPEN:
      return say(sqlite3_system_errno(database) == ENOENT ? ErrorCode::kNotFound : ErrorCode::kUnavailable, "");
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_IOERR:
      return say(ErrorCode::kUnavailable, "; check the disk, and who may write the file");
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return say(ErrorCode::kCorrupt, "; move the file away or restore a copy");
    default:
      return say(ErrorCode::kInternal, "");
  }
}

}  // namespace

void SqliteStatement::Finalize::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
void SqliteDatabase::Close::operator()(sqlite3* database) const { sqlite3_close(database); }

void SqliteStatement::bind(int index, std::int64_t value) { sqlite3_bind_int64(statement_.get(), index, value); }

void SqliteStatement::bind(int index, std::string_view text) {
  // SQLite takes a null pointer for NULL; an empty text needs a place.
  const char* const data = text.data() == nullptr ? "" : text.data();
  sqlite3_bind_text64(statement_.get(), index, data, text.size(), SQLITE_STATIC, SQLITE_UTF8);
}

Result<bool> SqliteStatement::step() {
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) {
    sqlite3_reset(statement_.get());
    return false;
  }
  auto error = failure(sqlite3_db_handle(statement_.get()));
  sqlite3_reset(statement_.get());
  return error;
}

Status SqliteStatement::run() {
  HADAL_ASSIGN(bool row, step());
  while (row) {
    HADAL_ASSIGN(row, step());
  }
  return {};
}

std::int64_t SqliteStatement::integer(int column) const { return sqlite3_column_int64(statement_.get(), column); }

std::string SqliteStatement::text(int column) const {
  const void* const data = sqlite3_column_blob(statement_.get(), column);
  const int size = sqlite3_column_bytes(statement_.get(), column);
  return data == nullptr ? "" : std::string(static_cast<const char*>(data), static_cast<std::size_t>(size));
}

Result<SqliteDatabase> SqliteDatabase::open(const std::filesystem::path& path, Mode mode,
                                            std::chrono::milliseconds patience) {
  SqliteDatabase database;
  sqlite3* handle = nullptr;
  const int flags = mode == Mode::kRead ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
  const int code = sqlite3_open_v2(path.c_str(), &handle, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nullptr);
  database.database_.reset(handle);
  if (handle == nullptr) return fail(ErrorCode::kResourceExhausted, "no memory for the database");
  if (code != SQLITE_OK) {
    const bool missing = !std::filesystem::exists(path);
    return fail(missing ? ErrorCode::kNotFound : ErrorCode::kUnavailable,
                fmt::format("{}: {}", path.string(), missing ? "there is no such file" : sqlite3_errmsg(handle)));
  }
  sqlite3_busy_timeout(handle, static_cast<int>(patience.count()));
  return database;
}

Status SqliteDatabase::execute(const char* statements) {
  if (sqlite3_exec(database_.get(), statements, nullptr, nullptr, nullptr) == SQLITE_OK) return {};
  return failure(database_.get());
}

Result<SqliteStatement> SqliteDatabase::prepare(std::string_view statement) {
  sqlite3_stmt* handle = nullptr;
  const int code = sqlite3_prepare_v3(database_.get(), statement.data(), static_cast<int>(statement.size()),
                                      SQLITE_PREPARE_PERSISTENT, &handle, nullptr);
  if (code != SQLITE_OK) return failure(database_.get());
  SqliteStatement prepared;
  prepared.statement_.reset(handle);
  return prepared;
}

Result<std::int64_t> SqliteDatabase::integer(std::string_view statement) {
  HADAL_ASSIGN(SqliteStatement prepared, prepare(statement));
  HADAL_ASSIGN(const bool row, prepared.step());
  return row ? prepared.integer(0) : 0;
}

void SqliteDatabase::roll_back() {
  if (sqlite3_get_autocommit(database_.get()) == 0) {
    sqlite3_exec(database_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
  }
}

}  // namespace hadal::server
