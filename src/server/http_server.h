#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "server/http_route.h"
#include "server/http_rules.h"

namespace hadal::server {

struct HttpOptions {
  std::vector<std::string> addresses = {"127.0.0.1", "::1"};  // numeric; an IPv6 one that the host lacks is passed over
  std::uint16_t port = 8000;                                  // of all addresses; 0: any that is free
  std::filesystem::path unix_path{};  // of a Unix socket beside them, for the user and the group; empty: none

  HttpLimits limits{};
  std::chrono::milliseconds header_time{10'000};      // from the first byte of a head to its last
  std::chrono::milliseconds body_time{30'000};        // for a body, and a second more for each 64 KiB that came
  std::chrono::milliseconds keep_alive_time{75'000};  // between two requests
  std::chrono::milliseconds idle_time{10'000};        // of silence in an answer until its idle text is sent
  std::chrono::milliseconds write_time{60'000};       // without progress towards a client that does not read
  std::int64_t requests_per_connection = 1000;
  std::int64_t connections = 4096;
  std::int64_t connections_per_address = 512;
  std::size_t answer_buffer = std::size_t{1} << 20;  // bytes for a slow reader; beyond them its stream is not ready
  int handler_threads = 2;
  ServingPhase phase = ServingPhase::kServing;  // to begin with

  std::vector<std::string> host_names{};       // further names in Host headers, when all addresses are loopback
  std::vector<std::string> cors_origins{};     // of other sites' pages; "*" for all
  std::vector<std::string> trusted_proxies{};  // addresses whose X-Forwarded-For is believed
};

/// One request that is over.
struct RequestRecord {
  /// Who ended it.
  enum class Ending : std::uint8_t { kComplete, kClientLeft, kClientStalled, kBrokenOff };

  std::chrono::system_clock::time_point time{};  // when its head was complete
  std::string request_id{}, client_id{}, key_id{}, address{}, method{};
  api::Family family = api::Family::kOpenAi;
  std::string route{};    // its path in the table, such as "/v1/models/*"; "" where none was found
  std::string refusal{};  // label of what refused it; "" if nothing did
  int status = 0;         // 0: the client left before
  Ending ending = Ending::kComplete;
  double seconds = 0;
  std::int64_t request_bytes = 0;  // of the body
  std::int64_t answer_bytes = 0;
  RequestNotes notes{};
};

/// Counts since the start, but for the first two.
struct HttpFigures {
  std::int64_t connections = 0;  // open now
  std::int64_t requests = 0;     // under way now
  std::int64_t accepted = 0;     // connections
  std::int64_t refused = 0;      // connections beyond a limit
  std::int64_t stalls = 0;       // answers given up because nobody read them
};

/// What the server calls, on the network thread.
struct HttpHooks {
  Gate gate{};  // none: everybody may pass
  /// Every request, once: when its answer is over and its handler has let go of it, so that its notes are complete.
  std::function<void(const RequestRecord&)> on_ended{};
};

/// Serves HTTP/1.1: one network thread with all sockets and timers, a few handler threads. Members may be called from
/// any thread but those of the server itself.
class HttpServer {
 public:
  /// Listens and starts the threads. Errors: kInvalidArgument (not an address, or not a path for a socket),
  /// kUnavailable (cannot be listened on).
  [[nodiscard]] static Result<std::unique_ptr<HttpServer>> start(HttpOptions options, std::vector<Route> routes,
                                                                 HttpHooks hooks);
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;
  /// stop().
  ~HttpServer();

  [[nodiscard]] std::uint16_t port() const;
  /// What the handlers of routes of kKey and kInfer refer to is complete: from now on they are called.
  void begin_serving();
  /// From now on they are not; requests that have passed the gate go on.
  void begin_drain();
  [[nodiscard]] ServingPhase phase() const;
  /// Waits until no request is under way and all answers are with the kernel. False: the deadline came first.
  [[nodiscard]] bool wait_until_idle(std::chrono::steady_clock::time_point deadline);
  /// Closes everything and joins the threads. Streams that handlers still hold remain valid and have `gone`.
  void stop();
  [[nodiscard]] HttpFigures figures() const;

 private:
  struct Parts;
  explicit HttpServer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace hadal::server
