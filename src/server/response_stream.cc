#include "server/response_stream.h"

#include <fmt/format.h>

#include <iterator>
#include <utility>

namespace hadal::server {

ResponseStream::ResponseStream(AnswerForm form, std::function<void()> wake)
    : form_(std::move(form)), wake_(std::move(wake)), close_(!form_.keep_alive) {}

ResponseStream::Framing ResponseStream::stream_framing() const {
  return form_.minor_version == 0 ? Framing::kUntilClose : Framing::kChunks;
}

void ResponseStream::append_head(const Response& head, Framing framing) {
  framing_ = framing;
  status_ = head.status;
  close_ = close_ || head.close || framing == Framing::kUntilClose;
  auto out = std::back_inserter(pending_);
  const auto field = [&](std::string_view name, std::string_view value) {
    fmt::format_to(out, "{}: {}\r\n", name, value);
  };
  fmt::format_to(out, "HTTP/1.1 {} {}\r\n", head.status, reason_phrase(head.status));
  const bool has_body = head.status != 204;
  if (has_body) field("content-type", head.content_type);
  if (has_body && framing == Framing::kLength) field("content-length", fmt::to_string(head.body.size()));
  if (framing == Framing::kChunks) field("transfer-encoding", "chunked");
  if (close_) field("connection", "close");
  if (!close_ && form_.minor_version == 0) field("connection", "keep-alive");
  if (!find_header(head.headers, "cache-control")) field("cache-control", "no-store");
  for (const Header& header : form_.headers) field(header.name, header.value);
  for (const Header& header : head.headers) field(header.name, header.value);
  if (form_.tells_time) {
    const auto passed = std::chrono::steady_clock::now() - form_.begun;
    field("openai-processing-ms",
          fmt::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(passed).count()));
  }
  pending_ += "\r\n";
}

void ResponseStream::append_piece(std::string_view piece) {
  if (piece.empty() || form_.head_only) return;
  if (framing_ == Framing::kChunks) {
    fmt::format_to(std::back_inserter(pending_), "{:x}\r\n", piece.size());
    pending_.append(piece).append("\r\n");
  } else {
    pending_ += piece;
  }
}

void ResponseStream::end_pieces() {
  if (framing_ == Framing::kChunks && !form_.head_only) pending_ += "0\r\n\r\n";
  phase_ = Phase::kEnded;
}

bool ResponseStream::announce() {
  if (pending_.size() + in_flight_ > form_.buffer_bytes) was_ready_ = false;
  return !std::exchange(announced_, true);
}

// Callers give the response away. NOLINTNEXTLINE(performance-unnecessary-value-param)
void ResponseStream::respond(Response response) {
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    if (gone_ || (phase_ != Phase::kOpen && phase_ != Phase::kExpecting && phase_ != Phase::kCommitted)) return;
    if (phase_ == Phase::kCommitted) {
      if (response.status == status_) {
        append_piece(response.body);
        end_pieces();
      } else {
        phase_ = Phase::kBroken;
      }
    } else {
      append_head(response, Framing::kLength);
      append_piece(response.body);
      phase_ = Phase::kEnded;
    }
    wake = announce();
  }
  if (wake) wake_();
}

void ResponseStream::expect(Response head) {
  const std::lock_guard lock(mutex_);
  if (phase_ != Phase::kOpen) return;
  expected_ = std::move(head);
  phase_ = Phase::kExpecting;
}

// Callers give the response away. NOLINTNEXTLINE(performance-unnecessary-value-param)
void ResponseStream::begin(Response head, std::string idle) {
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    if (gone_ || phase_ != Phase::kOpen) return;
    append_head(head, stream_framing());
    idle_ = std::move(idle);
    phase_ = Phase::kStreaming;
    wake = announce();
  }
  if (wake) wake_();
}

void ResponseStream::write(std::string_view piece) {
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    if (gone_ || phase_ != Phase::kStreaming) return;
    append_piece(piece);
    wake = announce();
  }
  if (wake) wake_();
}

void ResponseStream::finish() {
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    if (gone_ || phase_ != Phase::kStreaming) return;
    end_pieces();
    wake = announce();
  }
  if (wake) wake_();
}

void ResponseStream::abort() {
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    if (gone_ || phase_ == Phase::kEnded || phase_ == Phase::kBroken) return;
    phase_ = Phase::kBroken;
    wake = announce();
  }
  if (wake) wake_();
}

bool ResponseStream::ready() const {
  const std::lock_guard lock(mutex_);
  return pending_.size() + in_flight_ <= form_.buffer_bytes;
}

bool ResponseStream::gone() const {
  const std::lock_guard lock(mutex_);
  return gone_;
}

void ResponseStream::watch(Watcher watcher) {
  std::function<void()> call;
  {
    const std::lock_guard lock(mutex_);
    watcher_ = std::move(watcher);
    if (gone_) call = watcher_.gone;
  }
  if (call) call();
}

void ResponseStream::note(const std::function<void(RequestNotes&)>& change) {
  const std::lock_guard lock(mutex_);
  change(notes_);
}

ResponseStream::Output ResponseStream::take() {
  const std::lock_guard lock(mutex_);
  announced_ = false;
  Output output{.bytes = std::exchange(pending_, {})};
  in_flight_ += output.bytes.size();
  output.last = phase_ == Phase::kEnded || phase_ == Phase::kBroken;
  output.close = close_ || phase_ == Phase::kBroken;
  return output;
}

void ResponseStream::sent(std::size_t bytes) {
  std::function<void()> call;
  {
    const std::lock_guard lock(mutex_);
    in_flight_ -= bytes;
    sent_bytes_ += static_cast<std::int64_t>(bytes);
    const bool ready = pending_.size() + in_flight_ <= form_.buffer_bytes;
    if (ready && !was_ready_) call = watcher_.ready;
    was_ready_ = ready;
  }
  if (call) call();
}

void ResponseStream::idle() {
  const std::lock_guard lock(mutex_);
  if (gone_ || !pending_.empty()) return;
  if (phase_ == Phase::kExpecting) {
    append_head(expected_, stream_framing());
    phase_ = Phase::kCommitted;
  }
  if (phase_ == Phase::kCommitted) append_piece("\n");
  if (phase_ == Phase::kStreaming) append_piece(idle_);
}

void ResponseStream::leave() {
  std::function<void()> call;
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(gone_, true)) return;
    call = watcher_.gone;
    watcher_ = {};
  }
  if (call) call();
}

RequestNotes ResponseStream::notes() const {
  const std::lock_guard lock(mutex_);
  return notes_;
}

int ResponseStream::status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

std::int64_t ResponseStream::sent_bytes() const {
  const std::lock_guard lock(mutex_);
  return sent_bytes_;
}

bool ResponseStream::complete() const {
  const std::lock_guard lock(mutex_);
  return phase_ == Phase::kEnded && !gone_;
}

}  // namespace hadal::server
