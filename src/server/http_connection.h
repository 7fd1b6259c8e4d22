#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "server/http_core.h"
#include "server/http_reader.h"
#include "server/waiting_requests.h"

namespace hadal::server {

class LastWord;

/// One client's connection: a coroutine that only reads, so that it notices at any time that the client has left, and
/// one that parses, dispatches and writes, which everything else wakes. Network thread only. Lives until both have
/// ended.
class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  using Socket = boost::asio::generic::stream_protocol::socket;  // of TCP, or a Unix one

  HttpConnection(HttpCore& core, Socket socket, std::string address);
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;
  ~HttpConnection();

  /// Answers requests until one side ends.
  void start();
  /// Reads nothing, answers that, and ends.
  void start_refusing(const api::ApiError& error);
  /// Ends at once.
  void close();

 private:
  using Clock = std::chrono::steady_clock;
  template <class T>
  using Task = boost::asio::awaitable<T>;
  enum class Got : std::uint8_t {
    kWhole,
    kProblem,  // see problem_
    kNothing,  // the client left, or sent nothing
  };

  Task<void> fill();
  Task<void> serve();
  Task<void> refuse(api::ApiError error);
  Task<bool> exchange(bool last);
  Task<Got> read_head(HttpReader& reader);
  Task<Got> read_body(HttpReader& reader);
  Task<RequestRecord::Ending> send(ResponseStream& stream);
  Task<void> answer_problem(HttpProblem problem);
  Task<void> linger();
  /// False: nothing has happened until then.
  Task<bool> wait_until(Clock::time_point deadline);

  [[nodiscard]] std::shared_ptr<ResponseStream> make_stream(AnswerForm form);
  std::weak_ptr<LastWord> dispatch(const Route& route, HttpRequest request,
                                   const std::shared_ptr<ResponseStream>& stream);
  /// Tells of a request that is over as soon as `handler` has let go of it.
  void report(const RequestRecord& record, const std::shared_ptr<ResponseStream>& stream,
              const std::weak_ptr<LastWord>& handler);
  /// Writes what the socket takes of out_. None: the connection is broken.
  [[nodiscard]] std::optional<std::size_t> flush();
  /// Tells a client that waits for it to send its body. False: it could not be told.
  [[nodiscard]] bool send_continue();
  /// So much waits behind the request under way that nothing more is read.
  [[nodiscard]] bool full() const;
  void make_room();
  void wake();
  void reset();
  void end();

  HttpCore& core_;
  Socket socket_;
  const std::string address_;
  boost::asio::steady_timer event_;  // what the second coroutine waits for
  boost::asio::steady_timer room_;   // what the first one waits for while the buffer is full
  bool woken_ = false;
  bool left_ = false;          // the client has ended its side, or we ours
  bool closed_ = false;        // by us
  bool discarding_ = false;    // what still comes
  bool blocked_ = false;       // the socket takes nothing more
  bool close_behind_ = false;  // the answer
  std::string input_;
  std::optional<WaitingRequests> behind_;  // while an answer is under way: what input_ holds
  std::string out_;
  std::size_t out_at_ = 0;
  HttpProblem problem_;
};

}  // namespace hadal::server
