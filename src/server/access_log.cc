#include "server/access_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <iterator>
#include <string_view>
#include <utility>

#include "base/system_error.h"
#include "base/utc_time.h"
#include "text/json_text.h"

namespace hadal::server {
namespace {

constexpr std::size_t kWaitingBytes = 4 << 20;

/// Members of one object.
class Line {
 public:
  void text(std::string_view key, std::string_view value) {
    begin(key);
    text::append_json_string(out_, value);
  }
  void number(std::string_view key, std::int64_t value) {
    begin(key);
    fmt::format_to(std::back_inserter(out_), "{}", value);
  }
  void milliseconds(std::string_view key, double seconds) {
    begin(key);
    fmt::format_to(std::back_inserter(out_), "{:.1f}", 1000 * seconds);
  }
  [[nodiscard]] std::string take() { return std::move(out_) + "}\n"; }

 private:
  void begin(std::string_view key) {
    out_ += out_.empty() ? '{' : ',';
    fmt::format_to(std::back_inserter(out_), "\"{}\":", key);
  }

  std::string out_;
};

/// With milliseconds.
std::string utc(std::chrono::system_clock::time_point time) {
  const auto second = std::chrono::floor<std::chrono::seconds>(time);
  const auto rest = std::chrono::duration_cast<std::chrono::milliseconds>(time - second);
  std::string text = utc_text(second);
  text.pop_back();
  return text + fmt::format(".{:03}Z", rest.count());
}

std::string_view ending_name(RequestRecord::Ending ending) {
  switch (ending) {
    case RequestRecord::Ending::kComplete:
      return "";
    case RequestRecord::Ending::kClientLeft:
      return "client";
    case RequestRecord::Ending::kClientStalled:
      return "stalled client";
    case RequestRecord::Ending::kBrokenOff:
      break;
  }
  return "server";
}

/// Writes all, as far as the file takes it.
void write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const auto written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace

std::string access_line(const RequestRecord& record) {
  const RequestNotes& notes = record.notes;
  Line line;
  line.text("time", utc(record.time));
  line.text("request_id", record.request_id);
  if (!record.client_id.empty()) line.text("client_id", record.client_id);
  if (!record.key_id.empty()) line.text("key", record.key_id);
  line.text("address", record.address);
  line.text("family", record.family == api::Family::kDeepSeek ? "deepseek" : "openai");
  line.text("method", record.method);
  line.text("route", record.route);
  line.number("status", record.status);
  if (!record.refusal.empty()) line.text("refused_by", record.refusal);
  if (!notes.model.empty()) {
    line.text("model", notes.model);
    line.text("finish", notes.finish);
    line.number("prompt_tokens", notes.prompt_tokens);
    line.number("cached_tokens", notes.cached_tokens);
    line.number("completion_tokens", notes.answer_tokens);
    line.number("reasoning_tokens", notes.reasoning_tokens);
    line.milliseconds("queue_ms", notes.queue_seconds);
    if (notes.first_token_seconds >= 0) line.milliseconds("first_token_ms", notes.first_token_seconds);
  }
  line.milliseconds("total_ms", record.seconds);
  line.number("request_bytes", record.request_bytes);
  line.number("answer_bytes", record.answer_bytes);
  if (const auto ending = ending_name(record.ending); !ending.empty()) line.text("ended_by", ending);
  return line.take();
}

Result<std::unique_ptr<AccessLog>> AccessLog::open(const std::filesystem::path& path) {
  if (path == "-") return std::unique_ptr<AccessLog>(new AccessLog(STDERR_FILENO, false));
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  if (fd < 0) return system_error(path, "be opened as the access log");
  return std::unique_ptr<AccessLog>(new AccessLog(fd, true));
}

AccessLog::AccessLog(int fd, bool owned)
    : fd_(fd), owned_(owned), writer_([this](const std::stop_token& stop) { run(stop); }) {}

AccessLog::~AccessLog() {
  writer_.request_stop();
  writer_.join();
  if (owned_) ::close(fd_);
}

void AccessLog::write(const RequestRecord& record) {
  const std::string line = access_line(record);
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() + line.size() > kWaitingBytes) {
      ++dropped_;
      return;
    }
    waiting_ += line;
  }
  changed_.notify_one();
}

void AccessLog::run(const std::stop_token& stop) {
  while (true) {
    std::string lines;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, stop, [&] { return !waiting_.empty(); });
      if (waiting_.empty()) return;  // stopped
      lines = std::exchange(waiting_, {});
      if (const std::int64_t dropped = std::exchange(dropped_, 0); dropped > 0) {
        lines += fmt::format("{{\"dropped_lines\":{}}}\n", dropped);
      }
    }
    write_all(fd_, lines);
  }
}

}  // namespace hadal::server
