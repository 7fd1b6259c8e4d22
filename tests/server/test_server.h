#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/http_server.h"

namespace hadal::server {

/// Values that one thread leaves for another, which waits for them at most half a minute.
template <class T>
class Waiting {
 public:
  void put(T value) {
    {
      const std::lock_guard lock(mutex_);
      values_.push_back(std::move(value));
    }
    changed_.notify_all();
  }
  [[nodiscard]] std::optional<T> take() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, std::chrono::seconds(30), [&] { return !values_.empty(); })) return std::nullopt;
    T value = std::move(values_.front());
    values_.pop_front();
    return value;
  }

 private:
  std::mutex mutex_;  // guards values_
  std::condition_variable changed_;
  std::deque<T> values_;
};

/// Of this process.
inline std::ptrdiff_t open_descriptors() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
}

/// False: the server still had connections after half a minute.
inline bool wait_for_no_connections(const HttpServer& server) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (server.figures().connections > 0) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

/// A request whose answer is the test's.
struct Held {
  HttpRequest request;
  std::shared_ptr<ResponseStream> answer;
};

/// Options of a server on 127.0.0.1 and a free port.
inline HttpOptions loopback_options() {
  HttpOptions options;
  options.addresses = {"127.0.0.1"};
  options.port = 0;
  return options;
}

inline Response json(std::string body) { return {.body = std::move(body)}; }
inline Response event_stream() { return {.content_type = "text/event-stream; charset=utf-8"}; }

/// A server whose generations the test holds: POST to chat/completions of both families.
class TestServer {
 public:
  explicit TestServer(HttpOptions options = loopback_options(), Gate gate = {}) {
    HttpHooks hooks{.gate = std::move(gate), .on_ended = [this](const RequestRecord& record) { records.put(record); }};
    auto started = HttpServer::start(std::move(options), routes(), std::move(hooks));
    if (!started) throw std::runtime_error(started.error().message);
    server = *std::move(started);
  }

  [[nodiscard]] std::uint16_t port() const { return server->port(); }

  Waiting<Held> held;
  Waiting<RequestRecord> records;
  std::unique_ptr<HttpServer> server;

 private:
  std::vector<Route> routes() {
    using api::Family;
    const auto say = [](const std::string& body) {
      return [body](const HttpRequest&, const std::shared_ptr<ResponseStream>& answer) { answer->respond(json(body)); };
    };
    const auto hold = [this](HttpRequest request, std::shared_ptr<ResponseStream> answer) {
      held.put({std::move(request), std::move(answer)});
    };
    const auto echo = [](HttpRequest request, const std::shared_ptr<ResponseStream>& answer) {
      answer->respond(json(std::move(request.body)));
    };
    const auto tell_rest = [](HttpRequest request, const std::shared_ptr<ResponseStream>& answer) {
      answer->respond(json(std::move(request.rest)));
    };
    const auto drop = [](const HttpRequest&, const std::shared_ptr<ResponseStream>&) {};
    const auto fail = [](const HttpRequest&, const std::shared_ptr<ResponseStream>&) {
      throw std::runtime_error("on purpose");
    };
    return {
        {"GET", "/", Family::kOpenAi, Access::kOpen, say("here"), true},
        {"GET", "/health", Family::kOpenAi, Access::kOpen, say(R"({"status":"ok"})"), true},
        {"GET", "/v1/models", Family::kOpenAi, Access::kKey, say("[]")},
        {"GET", "/v1/models/*", Family::kOpenAi, Access::kKey, tell_rest},
        {"POST", "/v1/chat/completions", Family::kOpenAi, Access::kInfer, hold},
        {"POST", "/chat/completions", Family::kDeepSeek, Access::kInfer, hold},
        {"POST", "/v1/echo", Family::kOpenAi, Access::kKey, echo},
        {"POST", "/v1/drop", Family::kOpenAi, Access::kKey, drop},
        {"POST", "/v1/fail", Family::kOpenAi, Access::kKey, fail},
    };
  }
};

}  // namespace hadal::server
