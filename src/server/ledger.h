#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace hadal::server {

using LedgerTime = std::chrono::sys_time<std::chrono::milliseconds>;

/// What is known of a request when the engine takes it.
struct LedgerRequest {
  std::string id;  // unique; x-request-id
  std::string account{};
  std::string key{};       // its id
  std::string key_name{};  // as it is called now
  std::string model{};     // canonical id
  std::string family{};
  std::int64_t prompt_tokens = 0;
  LedgerTime time{};
};

enum class LedgerStatus : std::uint8_t {
  kOk,
  kCancelled,  // the client left, or the server was told to end
  kFailed,     // our fault
  kLost,       // the server died meanwhile; set by nobody but the ledger
};

/// A request at its end.
struct LedgerEntry {
  LedgerRequest request;
  LedgerStatus status = LedgerStatus::kOk;
  std::int64_t cached_tokens = 0;  // of the prompt
  std::int64_t answer_tokens = 0;  // of all choices
  std::int64_t reasoning_tokens = 0;
  LedgerTime ended{};
};

struct LedgerOptions {
  std::filesystem::path path;
  std::chrono::milliseconds group_time{20};    // records of so long are written together
  std::chrono::milliseconds retry_time{1000};  // between attempts to write to a disk that is full, or a file in use
  std::chrono::milliseconds patience{5000};    // with another program that uses the file
  std::int64_t most_waiting = 1 << 16;         // records; beyond them no further request is admitted
  std::function<void(double seconds)> on_commit{};  // called on the ledger's thread
};

struct LedgerFigures {
  std::int64_t written = 0;  // records since the start
  std::int64_t waiting = 0;  // records that are not on disk yet
  std::int64_t lost = 0;     // requests of an earlier process that were found open
  std::string problem{};     // why nothing can be written at the moment; "" when all is well
};

/// Writes to SQLite what was asked and answered: an admission before the work, an entry at its end. A thread of its own
/// does the writing; admit and finish may be called from any thread and never wait for a disk. docs/serving.md.
class Ledger {
 public:
  /// Opens or makes the file, closes what an earlier process left open as lost, and starts the thread. One process at
  /// a time: it holds FILE.lock. Errors: kUnavailable (another process has it), kCorrupt (no database), kUnsupported
  /// (a newer format, or another program's database), kNotFound, kResourceExhausted.
  [[nodiscard]] static Result<std::unique_ptr<Ledger>> open(LedgerOptions options);
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;
  /// Writes what is left. What the disk refuses even then goes to the log, a line a record.
  ~Ledger();

  /// Notes that work on a request begins. Error: kUnavailable, when `most_waiting` records wait for the disk: the
  /// request must be refused.
  [[nodiscard]] Status admit(LedgerRequest request);
  /// Notes its end, always. A second call with the same id does nothing.
  void finish(LedgerEntry entry);

  /// Waits until everything noted before is on disk, or one attempt has failed: then with that error.
  [[nodiscard]] Status flush();
  [[nodiscard]] LedgerFigures figures() const;

 private:
  struct Parts;
  explicit Ledger(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace hadal::server
