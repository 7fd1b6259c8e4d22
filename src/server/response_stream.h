#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "server/http_message.h"

namespace hadal::server {

/// How the answer to one request goes onto the wire.
struct AnswerForm {
  int minor_version = 1;   // of the request: HTTP/1.0 knows no chunks
  bool head_only = false;  // HEAD
  bool keep_alive = true;
  std::vector<Header> headers{};  // of every answer to this request
  std::chrono::steady_clock::time_point begun = std::chrono::steady_clock::now();
  bool tells_time = false;                          // `openai-processing-ms`
  std::size_t buffer_bytes = std::size_t{1} << 20;  // waiting for a slow reader; beyond them a stream is not ready
};

/// What a handler knows about its request, for the access log and the metrics.
struct RequestNotes {
  std::string model{};
  std::string finish{};
  std::int64_t prompt_tokens = 0, cached_tokens = 0, answer_tokens = 0, reasoning_tokens = 0;
  std::int64_t max_tokens = 0;  // that the answer may have
  std::int64_t choices = 1;
  double queue_seconds = 0;
  double first_token_seconds = -1;  // since the request; negative: there was none
};

/// The answer to one request, between the handler that makes it (on any thread) and the connection that sends it. An
/// answer is either whole (respond), or a stream (begin, write..., finish). What comes after its end, or after the
/// client has gone, is dropped. Makes the bytes of HTTP; knows no socket.
class ResponseStream {
 public:
  /// `wake`: called from any thread when take() has something new; once until the next take().
  ResponseStream(AnswerForm form, std::function<void()> wake);
  ResponseStream(const ResponseStream&) = delete;
  ResponseStream& operator=(const ResponseStream&) = delete;

  // The handler's side.

  /// The whole answer.
  void respond(Response response);
  /// All checks have passed and the answer may take long. Should it, `head` (without a body) goes ahead with line feeds
  /// behind it, and respond() gives the rest; if that is an error then, the connection breaks off.
  void expect(Response head);
  /// Head of a stream. `idle`: what is sent when nothing was written for a while; "" for nothing.
  void begin(Response head, std::string idle);
  /// A piece of a stream, sent at once.
  void write(std::string_view piece);
  /// The stream is complete.
  void finish();
  /// Breaks off, so that the client sees that the answer is not complete.
  void abort();
  /// False while more than the buffer waits for the client.
  [[nodiscard]] bool ready() const;
  /// The client has left; nothing more will be read.
  [[nodiscard]] bool gone() const;

  struct Watcher {
    std::function<void()> gone{};   // at once, if the client has left already
    std::function<void()> ready{};  // ready() became true again
  };
  /// Called on the connection's thread, without locks.
  void watch(Watcher watcher);
  /// Changes the notes under the lock.
  void note(const std::function<void(RequestNotes&)>& change);

  // The connection's side.

  struct Output {
    std::string bytes;
    bool last = false;   // nothing follows
    bool close = false;  // the connection ends behind them
  };
  /// All bytes that wait.
  [[nodiscard]] Output take();
  /// So many of the taken bytes went out.
  void sent(std::size_t bytes);
  /// Nothing was sent for a while.
  void idle();
  /// The client has left.
  void leave();

  [[nodiscard]] RequestNotes notes() const;
  [[nodiscard]] int status() const;  // 0: no answer yet
  [[nodiscard]] std::int64_t sent_bytes() const;
  [[nodiscard]] bool complete() const;  // ended, and neither broken off nor left

 private:
  enum class Phase : std::uint8_t {
    kOpen,       // nothing decided
    kExpecting,  // a whole answer that may take long
    kCommitted,  // the head of that answer has gone ahead
    kStreaming,
    kEnded,
    kBroken,
  };
  enum class Framing : std::uint8_t { kLength, kChunks, kUntilClose };

  void append_head(const Response& head, Framing framing);
  void append_piece(std::string_view piece);
  void end_pieces();
  [[nodiscard]] Framing stream_framing() const;
  /// Whether wake_ must be called when the lock is released.
  [[nodiscard]] bool announce();

  const AnswerForm form_;
  const std::function<void()> wake_;

  mutable std::mutex mutex_;  // guards all below; no other lock is taken under it
  Phase phase_ = Phase::kOpen;
  Framing framing_ = Framing::kLength;
  Response expected_;
  std::string idle_;
  std::string pending_;        // not yet taken
  std::size_t in_flight_ = 0;  // taken, not yet sent
  std::int64_t sent_bytes_ = 0;
  int status_ = 0;
  bool close_ = false;
  bool announced_ = false;
  bool was_ready_ = true;
  bool gone_ = false;
  Watcher watcher_;
  RequestNotes notes_;
};

}  // namespace hadal::server
