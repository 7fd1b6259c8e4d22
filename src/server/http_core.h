#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "server/http_admission.h"
#include "server/http_server.h"

namespace hadal::server {

class HttpConnection;

/// How many requests are under way. Thread-safe.
class RequestCount {
 public:
  void add(std::int64_t change) {
    const std::lock_guard lock(mutex_);
    count_ += change;
    if (count_ == 0) changed_.notify_all();
  }
  [[nodiscard]] std::int64_t value() const {
    const std::lock_guard lock(mutex_);
    return count_;
  }
  /// False: the deadline came first.
  [[nodiscard]] bool wait_for_none(std::chrono::steady_clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    return changed_.wait_until(lock, deadline, [&] { return count_ == 0; });
  }

 private:
  mutable std::mutex mutex_;  // guards count_
  std::condition_variable changed_;
  std::int64_t count_ = 0;
};

/// What the connections of one server share. For the network thread, but for atomics and `under_way`.
struct HttpCore {
  HttpCore(HttpOptions given_options, std::vector<Route> given_routes, HttpHooks given_hooks)
      : options(std::move(given_options)),
        routes(std::move(given_routes)),
        hooks(std::move(given_hooks)),
        handlers(static_cast<std::size_t>(std::max(1, options.handler_threads))),
        phase(options.phase) {}

  const HttpOptions options;
  const RouteTable routes;
  const HttpHooks hooks;
  AdmissionRules rules;
  // Shared with streams that outlive the server, so that their wake-ups have somewhere to go.
  std::shared_ptr<boost::asio::io_context> io = std::make_shared<boost::asio::io_context>(1);
  boost::asio::thread_pool handlers;

  std::atomic<ServingPhase> phase;
  std::atomic<std::int64_t> connections = 0, accepted = 0, refused = 0, stalls = 0;
  RequestCount under_way;

  std::unordered_map<HttpConnection*, std::weak_ptr<HttpConnection>> open;
  std::unordered_map<std::string, std::int64_t> by_address;  // open connections
  std::array<char, 65536> scratch;                           // for what is read, until it is appended somewhere
};

}  // namespace hadal::server
