#include "server/http_connection.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <functional>
#include <string_view>
#include <utility>

#include "base/log.h"

namespace hadal::server {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr std::size_t kInputBytes = 64 << 10;      // of requests that wait behind the one being answered
constexpr std::int64_t kWaitingRequests = 16;      // the same, whole ones
constexpr std::int64_t kDiscardBytes = 256 << 10;  // of a refused body are read, so that the connection can go on
constexpr std::int64_t kBodyBytesPerSecond = 64 << 10;
constexpr std::chrono::seconds kLinger(2);
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

/// Counts a request while it is under way.
class UnderWay {
 public:
  explicit UnderWay(RequestCount& count) : count_(count) { count_.add(1); }
  UnderWay(const UnderWay&) = delete;
  UnderWay& operator=(const UnderWay&) = delete;
  ~UnderWay() { count_.add(-1); }

 private:
  RequestCount& count_;
};

/// What is known before the answer.
RequestRecord record_of(const Admission& admission) {
  const HttpRequest& request = admission.request;
  RequestRecord record{.time = std::chrono::system_clock::now()};
  record.request_id = request.id;
  record.client_id = request.client_id;
  record.key_id = admission.key_id;
  record.address = request.address;
  record.method = request.head.method;
  record.family = request.family;
  record.refusal = admission.label;
  if (admission.route != nullptr) record.route = admission.route->path;
  return record;
}

void call_handler(const Handler& handler, HttpRequest request, std::shared_ptr<ResponseStream> answer) {
  const std::string id = request.id;
  try {
    handler(std::move(request), std::move(answer));
  } catch (const std::exception& error) {
    log::error("request {} failed: {}", id, error.what());  // `answer` has been let go of
  }
}

}  // namespace

/// What happens when a handler lets go of its stream.
class LastWord {
 public:
  LastWord(std::shared_ptr<ResponseStream> stream, api::Family family, std::shared_ptr<asio::io_context> io)
      : stream_(std::move(stream)), family_(family), io_(std::move(io)) {}
  LastWord(const LastWord&) = delete;
  LastWord& operator=(const LastWord&) = delete;
  /// Answers, if the handler did not.
  ~LastWord() {
    stream_->respond(error_response(family_, {api::Cause::kInternal, "the request was given up"}));
    stream_->abort();
    if (report_) asio::post(*io_, std::move(report_));
  }

  /// The connection's part is over; `report` runs on its thread when the handler's is, too.
  void owe(std::function<void()> report) { report_ = std::move(report); }

 private:
  std::shared_ptr<ResponseStream> stream_;
  api::Family family_;
  std::shared_ptr<asio::io_context> io_;
  std::function<void()> report_;
};

HttpConnection::HttpConnection(HttpCore& core, Socket socket, std::string address)
    : core_(core), socket_(std::move(socket)), address_(std::move(address)), event_(*core.io), room_(*core.io) {
  ++core_.connections;
  ++core_.by_address[address_];
}

HttpConnection::~HttpConnection() {
  --core_.connections;
  core_.open.erase(this);
  const auto count = core_.by_address.find(address_);
  if (--count->second == 0) core_.by_address.erase(count);
}

void HttpConnection::start() {
  const auto ended = [self = shared_from_this()](const std::exception_ptr& error) {
    if (error) log::error("a connection failed and was closed");
    self->close();
  };
  asio::co_spawn(*core_.io, fill(), ended);
  asio::co_spawn(*core_.io, serve(), ended);
}

void HttpConnection::start_refusing(const api::ApiError& error) {
  const auto ended = [self = shared_from_this()](const std::exception_ptr&) { self->close(); };
  discarding_ = true;
  asio::co_spawn(*core_.io, fill(), ended);
  asio::co_spawn(*core_.io, refuse(error), ended);
}

void HttpConnection::close() {
  left_ = true;
  end();
  wake();
}

void HttpConnection::reset() {
  error_code ignored;
  static_cast<void>(socket_.set_option(asio::socket_base::linger(true, 0), ignored));
  close();
}

void HttpConnection::end() {
  closed_ = true;
  error_code ignored;
  static_cast<void>(socket_.close(ignored));
  room_.cancel();
}

void HttpConnection::wake() {
  woken_ = true;
  event_.cancel();
}

bool HttpConnection::full() const {
  return input_.size() >= kInputBytes || (behind_ && behind_->count() >= kWaitingRequests);
}

void HttpConnection::make_room() {
  if (!full()) room_.cancel();
}

HttpConnection::Task<bool> HttpConnection::wait_until(Clock::time_point deadline) {
  if (!woken_) {
    error_code ignored;
    event_.expires_at(deadline);
    co_await event_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  co_return std::exchange(woken_, false);
}

HttpConnection::Task<void> HttpConnection::fill() {
  error_code error;
  while (!closed_) {
    if (full() && !discarding_) {
      error_code ignored;
      room_.expires_at(Clock::time_point::max());
      co_await room_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
      continue;
    }
    co_await socket_.async_wait(Socket::wait_read, asio::redirect_error(asio::use_awaitable, error));
    if (closed_) break;
    const std::size_t bytes = socket_.read_some(asio::buffer(core_.scratch), error);
    if (error == asio::error::would_block) continue;
    if (error) break;
    if (discarding_) continue;
    const std::string_view arrived(core_.scratch.data(), bytes);
    input_ += arrived;
    if (behind_) behind_->see(arrived);
    wake();
  }
  left_ = true;
  wake();
}

HttpConnection::Task<void> HttpConnection::serve() {
  for (std::int64_t left = core_.options.requests_per_connection; left > 0; --left) {
    if (!co_await exchange(left == 1)) break;
  }
  co_await linger();
  end();
}

HttpConnection::Task<bool> HttpConnection::exchange(bool last) {
  HttpReader reader(core_.options.limits);
  const Got head = co_await read_head(reader);
  if (head == Got::kNothing) co_return false;
  const UnderWay counted(core_.under_way);
  if (head == Got::kProblem) {
    co_await answer_problem(problem_);
    co_return false;
  }
  const Clock::time_point begun = Clock::now();
  Admission admission = admit(reader.head(), address_, core_.routes, core_.rules, core_.phase);
  HttpRequest& request = admission.request;
  RequestRecord record = record_of(admission);
  const bool unread = admission.answer && request.head.has_body();
  const bool skippable = !request.head.chunked && !request.head.expects_continue &&
                         request.head.content_length.value_or(0) <= kDiscardBytes;
  AnswerForm form = std::move(admission.form);
  form.keep_alive = form.keep_alive && !last && core_.phase != ServingPhase::kDraining && (!unread || skippable);
  form.buffer_bytes = core_.options.answer_buffer;
  const std::shared_ptr<ResponseStream> stream = make_stream(std::move(form));
  std::weak_ptr<LastWord> handler;
  Got body = Got::kWhole;
  if (!admission.answer) body = co_await read_body(reader);
  record.request_bytes = static_cast<std::int64_t>(reader.body().size());
  record.ending = RequestRecord::Ending::kClientLeft;
  if (body != Got::kNothing) {
    if (body == Got::kProblem) admission.answer = problem_response(request.family, problem_);
    if (admission.answer) {
      stream->respond(std::move(*admission.answer));
    } else {
      request.body = std::move(reader.body());
      handler = dispatch(*admission.route, std::move(request), stream);
    }
    // In front of an unread body there is no request yet.
    if (!unread) behind_.emplace(core_.options.limits).see(input_);
    record.ending = co_await send(*stream);
    behind_.reset();
    make_room();
  }
  record.status = stream->status();
  record.seconds = std::chrono::duration<double>(Clock::now() - begun).count();
  record.answer_bytes = stream->sent_bytes();
  report(record, stream, handler);
  // Without chunks only a reset tells the client that this was not all.
  if (record.ending == RequestRecord::Ending::kBrokenOff && reader.head().minor_version == 0) reset();
  if (record.ending != RequestRecord::Ending::kComplete || close_behind_) co_return false;
  if (unread) body = co_await read_body(reader);
  co_return body == Got::kWhole;
}

HttpConnection::Task<HttpConnection::Got> HttpConnection::read_head(HttpReader& reader) {
  const Clock::time_point silent = Clock::now() + core_.options.keep_alive_time;
  while (input_.empty()) {
    if (left_ || !co_await wait_until(silent)) co_return Got::kNothing;
  }
  const Clock::time_point deadline = Clock::now() + core_.options.header_time;
  while (true) {
    const HttpReader::Step step = reader.read_head(input_);
    make_room();
    if (step == HttpReader::Step::kDone) co_return Got::kWhole;
    if (step == HttpReader::Step::kProblem) {
      problem_ = reader.problem();
      co_return Got::kProblem;
    }
    if (left_) co_return Got::kNothing;
    if (!co_await wait_until(deadline) || Clock::now() > deadline) {
      problem_ = {408, "the headers did not come in time"};
      co_return Got::kProblem;
    }
  }
}

HttpConnection::Task<HttpConnection::Got> HttpConnection::read_body(HttpReader& reader) {
  if (reader.head().expects_continue && reader.head().has_body() && input_.empty() && !send_continue()) {
    co_return Got::kNothing;
  }
  const Clock::time_point begun = Clock::now();
  while (true) {
    const HttpReader::Step step = reader.read_body(input_);
    make_room();
    if (step == HttpReader::Step::kDone) co_return Got::kWhole;
    if (step == HttpReader::Step::kProblem) {
      problem_ = reader.problem();
      co_return Got::kProblem;
    }
    if (left_) co_return Got::kNothing;
    const auto earned = std::chrono::seconds(static_cast<std::int64_t>(reader.body().size()) / kBodyBytesPerSecond);
    const Clock::time_point deadline = begun + core_.options.body_time + earned;
    if (!co_await wait_until(deadline) || Clock::now() > deadline) {
      problem_ = {408, "the body did not come in time"};
      co_return Got::kProblem;
    }
  }
}

bool HttpConnection::send_continue() {
  error_code error;
  const std::size_t bytes = socket_.write_some(asio::buffer(kContinue), error);
  // A client that has not read its last answer yet does without the invitation.
  if (error == asio::error::would_block) return true;
  return !error && bytes == kContinue.size();
}

std::shared_ptr<ResponseStream> HttpConnection::make_stream(AnswerForm form) {
  return std::make_shared<ResponseStream>(std::move(form), [io = core_.io, weak = weak_from_this()] {
    asio::post(*io, [weak] {
      if (const auto self = weak.lock()) self->wake();
    });
  });
}

void HttpConnection::report(const RequestRecord& record, const std::shared_ptr<ResponseStream>& stream,
                            const std::weak_ptr<LastWord>& handler) {
  if (!core_.hooks.on_ended) return;
  auto tell = [&core = core_, record = RequestRecord(record), stream]() mutable {
    record.notes = stream->notes();
    core.hooks.on_ended(record);
  };
  // A client may leave long before its handler knows what it has cost.
  if (const auto alive = handler.lock()) {
    alive->owe(std::move(tell));
  } else {
    tell();
  }
}

std::weak_ptr<LastWord> HttpConnection::dispatch(const Route& route, HttpRequest request,
                                                 const std::shared_ptr<ResponseStream>& stream) {
  const auto last_word = std::make_shared<LastWord>(stream, route.family, core_.io);
  std::shared_ptr<ResponseStream> answer(last_word, stream.get());
  if (route.quick) {
    call_handler(route.handler, std::move(request), std::move(answer));
    return last_word;
  }
  asio::post(core_.handlers,
             [handler = &route.handler, request = std::move(request), answer = std::move(answer)]() mutable {
               call_handler(*handler, std::move(request), std::move(answer));
             });
  return last_word;
}

std::optional<std::size_t> HttpConnection::flush() {
  if (blocked_ || out_at_ == out_.size()) return 0;
  error_code error;
  const std::size_t bytes = socket_.write_some(asio::buffer(out_.data() + out_at_, out_.size() - out_at_), error);
  if (error && error != asio::error::would_block) return std::nullopt;
  out_at_ += bytes;
  if (out_at_ == out_.size()) {
    out_.clear();
    out_at_ = 0;
    return bytes;
  }
  blocked_ = true;
  socket_.async_wait(Socket::wait_write, [self = shared_from_this()](error_code) {
    self->blocked_ = false;
    self->wake();
  });
  return bytes;
}

HttpConnection::Task<RequestRecord::Ending> HttpConnection::send(ResponseStream& stream) {
  using Ending = RequestRecord::Ending;
  Clock::time_point progress = Clock::now();
  bool last = false;
  while (true) {
    if (out_.empty() && !last) {
      ResponseStream::Output output = stream.take();
      out_ = std::move(output.bytes);
      last = output.last;
      close_behind_ = close_behind_ || output.close;
    }
    const std::optional<std::size_t> bytes = flush();
    if (!bytes) break;
    if (*bytes > 0) {
      stream.sent(*bytes);
      progress = Clock::now();
    }
    if (out_.empty() && last) co_return stream.complete() ? Ending::kComplete : Ending::kBrokenOff;
    // What was ready is sent even to a client that has ended its side; nobody waits for more on its behalf.
    if (left_) break;
    const bool waits = !out_.empty();
    if (co_await wait_until(progress + (waits ? core_.options.write_time : core_.options.idle_time))) continue;
    if (waits) {
      ++core_.stalls;
      stream.leave();
      close();
      co_return Ending::kClientStalled;
    }
    stream.idle();
    progress = Clock::now();
  }
  stream.leave();
  co_return Ending::kClientLeft;
}

HttpConnection::Task<void> HttpConnection::answer_problem(HttpProblem problem) {
  RequestRecord record{.time = std::chrono::system_clock::now()};
  HttpRequest request;
  request.address = address_;
  name_request(request, core_.rules.random_bits);
  const std::shared_ptr<ResponseStream> stream = make_stream({.keep_alive = false, .headers = common_headers(request)});
  stream->respond(problem_response(request.family, problem));
  record.ending = co_await send(*stream);
  record.request_id = request.id;
  record.address = address_;
  record.refusal = "malformed";
  record.status = problem.status;
  record.answer_bytes = stream->sent_bytes();
  if (core_.hooks.on_ended) core_.hooks.on_ended(record);
}

HttpConnection::Task<void> HttpConnection::refuse(api::ApiError error) {
  HttpRequest request;
  name_request(request, core_.rules.random_bits);
  const std::shared_ptr<ResponseStream> stream = make_stream({.keep_alive = false, .headers = common_headers(request)});
  stream->respond(error_response(request.family, error, 1));
  static_cast<void>(co_await send(*stream));
  co_await linger();
  end();
}

HttpConnection::Task<void> HttpConnection::linger() {
  if (left_) co_return;
  // Closing with unread bytes would make the kernel throw away the answer that is under way.
  error_code ignored;
  static_cast<void>(socket_.shutdown(Socket::shutdown_send, ignored));
  discarding_ = true;
  input_.clear();
  make_room();
  const Clock::time_point deadline = Clock::now() + kLinger;
  while (!left_ && Clock::now() < deadline) static_cast<void>(co_await wait_until(deadline));
}

}  // namespace hadal::server
