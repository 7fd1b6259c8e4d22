#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace hadal::server {

/// A statement that was read once and runs many times. Must not outlive its database.
class SqliteStatement {
 public:
  /// Sets parameter `index` (from 1). A text must live until the statement has run.
  void bind(int index, std::int64_t value);
  void bind(int index, std::string_view text);
  /// True: a row is there. False: the end, and the statement is ready to run again. Errors: those of SqliteDatabase.
  [[nodiscard]] Result<bool> step();
  /// Runs a statement without rows.
  [[nodiscard]] Status run();
  /// Column of the row, from 0.
  [[nodiscard]] std::int64_t integer(int column) const;
  [[nodiscard]] std::string text(int column) const;

 private:
  friend class SqliteDatabase;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

/// An open SQLite file, for one thread at a time. Errors of all its members: kUnavailable (in use, or the disk fails),
/// kResourceExhausted (full disk), kCorrupt, kInternal. Messages name the file.
class SqliteDatabase {
 public:
  enum class Mode : std::uint8_t { kRead, kWrite };

  /// The file must exist; an empty one is an empty database. `patience`: how long to wait for a file in use. Error:
  /// kNotFound.
  [[nodiscard]] static Result<SqliteDatabase> open(const std::filesystem::path& path, Mode mode,
                                                   std::chrono::milliseconds patience);

  /// Runs statements without parameters and rows.
  [[nodiscard]] Status execute(const char* statements);
  [[nodiscard]] Result<SqliteStatement> prepare(std::string_view statement);
  /// First column of the first row.
  [[nodiscard]] Result<std::int64_t> integer(std::string_view statement);
  /// Ends a transaction that failed, if one is open.
  void roll_back();

 private:
  struct Close {
    void operator()(sqlite3* database) const;
  };
  std::unique_ptr<sqlite3, Close> database_;
};

}  // namespace hadal::server
