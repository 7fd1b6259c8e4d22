#include "server/ledger.h"

#include <fmt/core.h>

#include <condition_variable>
#include <iterator>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "base/log.h"
#include "base/utc_time.h"
#include "server/ledger_file.h"

namespace hadal::server {
namespace {

LedgerTime wall_time() { return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now()); }

std::string line(const LedgerRequest& request, std::string_view status) {
  return fmt::format("request={} time={} account={} key={} model={} family={} prompt={} status={}", request.id,
                     utc_text(std::chrono::floor<std::chrono::seconds>(request.time)), request.account, request.key,
                     request.model, request.family, request.prompt_tokens, status);
}

/// The record for the log, when nothing else can keep it.
std::string line(const LedgerRecord& record) {
  if (const auto* request = std::get_if<LedgerRequest>(&record)) return line(*request, "admitted");
  const auto& entry = std::get<LedgerEntry>(record);
  return line(entry.request, ledger_status_name(entry.status)) + fmt::format(" cached={} answer={} reasoning={}",
                                                                             entry.cached_tokens, entry.answer_tokens,
                                                                             entry.reasoning_tokens);
}

}  // namespace

struct Ledger::Parts {
  Parts(LedgerOptions wanted, LedgerFile opened) : options(std::move(wanted)), file(std::move(opened)) {}

  void note(LedgerRecord record);
  void write_until(const std::stop_token& stop);
  /// What waits for the next attempt, after the time in which more may join it. Empty: the end.
  [[nodiscard]] std::vector<LedgerRecord> next_batch(const std::stop_token& stop);
  void settle(std::vector<LedgerRecord> batch, const Status& status, bool last);

  const LedgerOptions options;
  LedgerFile file;   // of the writer alone
  std::mutex mutex;  // guards everything below but the thread
  std::condition_variable_any wake;
  std::condition_variable settled;
  std::vector<LedgerRecord> waiting;
  std::int64_t noted = 0;
  std::int64_t attempts = 0;        // begun
  std::int64_t failed_attempt = 0;  // the last one that failed
  bool hurry = false;
  Error failure{};  // of the last attempt that failed
  LedgerFigures figures{};
  std::jthread writer;
};

void Ledger::Parts::note(LedgerRecord record) {
  const std::lock_guard lock(mutex);
  waiting.push_back(std::move(record));
  ++noted;
  ++figures.waiting;
  wake.notify_one();
}

std::vector<LedgerRecord> Ledger::Parts::next_batch(const std::stop_token& stop) {
  std::unique_lock lock(mutex);
  wake.wait(lock, stop, [this] { return !waiting.empty(); });
  if (waiting.empty()) return {};
  const auto pause = figures.problem.empty() ? options.group_time : options.retry_time;
  wake.wait_for(lock, stop, pause, [this] { return hurry; });
  hurry = false;
  ++attempts;
  return std::exchange(waiting, {});
}

void Ledger::Parts::write_until(const std::stop_token& stop) {
  while (true) {
    std::vector<LedgerRecord> batch = next_batch(stop);
    if (batch.empty()) return;
    const auto begin = std::chrono::steady_clock::now();
    const Status status = file.write(batch);
    if (status && options.on_commit) {
      options.on_commit(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
    settle(std::move(batch), status, stop.stop_requested());
  }
}

void Ledger::Parts::settle(std::vector<LedgerRecord> batch, const Status& status, bool last) {
  const std::lock_guard lock(mutex);
  const auto count = static_cast<std::int64_t>(batch.size());
  const bool failed_before = !figures.problem.empty();
  if (status) {
    if (failed_before) log::warning("{}: usage is written again", options.path.string());
    figures.problem.clear();
    figures.written += count;
    figures.waiting -= count;
  } else {
    if (!failed_before) log::error("usage waits in memory until it can be written: {}", status.error().message);
    failure = status.error();
    figures.problem = failure.message;
    failed_attempt = attempts;
    if (last) {
      log::error("{}: {} records of usage could not be written and follow here", options.path.string(), count);
      for (const LedgerRecord& record : batch) log::error("usage {}", line(record));
    } else {
      // In front of what has come meanwhile: the order of one request's records matters.
      waiting.insert(waiting.begin(), std::make_move_iterator(batch.begin()), std::make_move_iterator(batch.end()));
    }
  }
  settled.notify_all();
}

Result<std::unique_ptr<Ledger>> Ledger::open(LedgerOptions options) {
  HADAL_ASSIGN(LedgerFile file, LedgerFile::open(options.path, options.patience));
  HADAL_ASSIGN(const std::int64_t lost, file.close_lost(wall_time()));
  if (lost > 0) {
    log::warning("{}: {} requests were under way when the last server died; hadal usage --lost lists them",
                 options.path.string(), lost);
  }
  auto parts = std::make_unique<Parts>(std::move(options), std::move(file));
  parts->figures.lost = lost;
  Parts* const self = parts.get();
  parts->writer = std::jthread([self](const std::stop_token& stop) { self->write_until(stop); });
  return std::unique_ptr<Ledger>(new Ledger(std::move(parts)));
}

Ledger::Ledger(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Ledger::~Ledger() {
  parts_->writer.request_stop();
  parts_->writer.join();
}

Status Ledger::admit(LedgerRequest request) {
  {
    const std::lock_guard lock(parts_->mutex);
    if (parts_->figures.waiting >= parts_->options.most_waiting) {
      return fail(ErrorCode::kUnavailable,
                  fmt::format("usage cannot be recorded at the moment ({} records wait for the disk); try again later",
                              parts_->figures.waiting));
    }
  }
  parts_->note(std::move(request));
  return {};
}

void Ledger::finish(LedgerEntry entry) { parts_->note(std::move(entry)); }

Status Ledger::flush() {
  std::unique_lock lock(parts_->mutex);
  const std::int64_t target = parts_->noted;
  const std::int64_t begun = parts_->attempts;
  parts_->hurry = true;
  parts_->wake.notify_one();
  parts_->settled.wait(lock, [&] { return parts_->figures.written >= target || parts_->failed_attempt > begun; });
  if (parts_->figures.written >= target) return {};
  return tl::unexpected<Error>(parts_->failure);
}

LedgerFigures Ledger::figures() const {
  const std::lock_guard lock(parts_->mutex);
  return parts_->figures;
}

}  // namespace hadal::server
