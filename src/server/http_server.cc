#include "server/http_server.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <filesystem>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "base/log.h"
#include "server/http_connection.h"
#include "server/http_core.h"
#include "server/random_bits.h"

namespace hadal::server {
namespace {

namespace asio = boost::asio;
using Local = asio::local::stream_protocol;
using asio::ip::tcp;
using boost::system::error_code;

constexpr int kPortTries = 20;                // to find one that is free on all addresses
constexpr std::int64_t kRefusedAtATime = 64;  // connections beyond the limit that are told so; more are just closed
constexpr std::chrono::milliseconds kAcceptPause(100);
constexpr std::string_view kUnixAddress = "unix";  // of clients of the Unix socket

Result<std::vector<asio::ip::address>> parse_addresses(const std::vector<std::string>& names) {
  std::vector<asio::ip::address> addresses;
  for (const std::string& name : names) {
    error_code error;
    addresses.push_back(asio::ip::make_address(name, error));
    if (error) return fail(ErrorCode::kInvalidArgument, fmt::format("'{}' is not an IP address to listen on", name));
  }
  if (addresses.empty()) return fail(ErrorCode::kInvalidArgument, "there is no address to listen on");
  return addresses;
}

error_code listen(tcp::acceptor& acceptor, const tcp::endpoint& endpoint) {
  error_code error;
  static_cast<void>(acceptor.open(endpoint.protocol(), error));
  if (!error) static_cast<void>(acceptor.set_option(tcp::acceptor::reuse_address(true), error));
  if (!error && endpoint.address().is_v6()) static_cast<void>(acceptor.set_option(asio::ip::v6_only(true), error));
  if (!error) static_cast<void>(acceptor.bind(endpoint, error));
  if (!error) static_cast<void>(acceptor.listen(asio::socket_base::max_listen_connections, error));
  return error;
}

/// The client's address in logs and limits.
std::string address_of(const tcp::socket& socket, error_code& error) {
  const tcp::endpoint client = socket.remote_endpoint(error);
  return error ? std::string() : client.address().to_string();
}
std::string address_of(const Local::socket& /*socket*/, error_code& /*error*/) { return std::string(kUnixAddress); }

/// Makes way for a socket file: one that a server left behind, which nobody listens at, is removed.
Status clear_path(asio::io_context& io, const std::filesystem::path& path) {
  std::error_code ignored;
  const std::filesystem::file_status found = std::filesystem::symlink_status(path, ignored);
  if (found.type() == std::filesystem::file_type::not_found) return {};
  if (found.type() != std::filesystem::file_type::socket) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("{}: is there and no socket", path.string()));
  }
  Local::socket probe(io);
  error_code refused;
  static_cast<void>(probe.connect(Local::endpoint(path.string()), refused));
  if (!refused) return fail(ErrorCode::kUnavailable, fmt::format("{}: another server listens there", path.string()));
  std::filesystem::remove(path, ignored);
  return {};
}

/// The host has no such kind of address, or not this loopback one.
bool is_absent(const asio::ip::address& address, const error_code& error) {
  return address.is_v6() &&
         (error == asio::error::address_family_not_supported || error == boost::system::errc::address_not_available);
}

}  // namespace

struct HttpServer::Parts {
  Parts(HttpOptions options, std::vector<Route> routes, HttpHooks hooks)
      : core(std::move(options), std::move(routes), std::move(hooks)) {}

  Status open_all(const std::vector<asio::ip::address>& addresses);
  /// One try on one port. True: another free port may do.
  Result<bool> open_once(const std::vector<asio::ip::address>& addresses);
  /// The Unix socket, if there is to be one.
  Status open_unix();
  template <class Acceptor>
  asio::awaitable<void> accept(Acceptor& acceptor);
  void receive(HttpConnection::Socket socket, const std::string& address);
  void run();

  HttpCore core;
  std::vector<tcp::acceptor> acceptors;  // closed on the network thread
  std::optional<Local::acceptor> unix_acceptor;
  std::uint16_t port = 0;
  std::optional<asio::executor_work_guard<asio::io_context::executor_type>> work;
  std::mutex stop_mutex;  // held by who stops
  std::thread network;
};

Result<bool> HttpServer::Parts::open_once(const std::vector<asio::ip::address>& addresses) {
  acceptors.clear();
  port = core.options.port;
  for (const asio::ip::address& address : addresses) {
    tcp::acceptor acceptor(*core.io);
    const error_code error = listen(acceptor, {address, port});
    if (error && is_absent(address, error) && addresses.size() > 1) continue;
    if (error == asio::error::address_in_use && core.options.port == 0) return true;
    if (error) {
      return fail(ErrorCode::kUnavailable,
                  fmt::format("cannot listen on {} port {}: {}", address.to_string(), port, error.message()));
    }
    port = acceptor.local_endpoint().port();
    acceptors.push_back(std::move(acceptor));
  }
  if (acceptors.empty()) return fail(ErrorCode::kUnavailable, "this host has none of the addresses to listen on");
  return false;
}

Status HttpServer::Parts::open_all(const std::vector<asio::ip::address>& addresses) {
  for (int attempt = 0; attempt < kPortTries; ++attempt) {
    HADAL_ASSIGN(const bool again, open_once(addresses));
    if (!again) return {};
  }
  return fail(ErrorCode::kUnavailable, "no port is free on all addresses to listen on");
}

Status HttpServer::Parts::open_unix() {
  const std::filesystem::path& path = core.options.unix_path;
  if (path.empty()) return {};
  constexpr std::size_t kMostBytes = sizeof(sockaddr_un::sun_path) - 1;
  if (path.native().size() > kMostBytes) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: the path of a socket has at most {} bytes", path.string(), kMostBytes));
  }
  HADAL_TRY(clear_path(*core.io, path));
  Local::acceptor acceptor(*core.io);
  error_code error;
  static_cast<void>(acceptor.open(Local(), error));
  if (!error) static_cast<void>(acceptor.bind(Local::endpoint(path.string()), error));
  // Before it listens nobody can connect.
  if (!error && ::chmod(path.c_str(), 0660) != 0) error.assign(errno, boost::system::system_category());
  if (!error) static_cast<void>(acceptor.listen(asio::socket_base::max_listen_connections, error));
  if (error) {
    return fail(ErrorCode::kUnavailable, fmt::format("cannot listen on {}: {}", path.string(), error.message()));
  }
  unix_acceptor.emplace(std::move(acceptor));
  return {};
}

template <class Acceptor>
asio::awaitable<void> HttpServer::Parts::accept(Acceptor& acceptor) {
  asio::steady_timer pause(*core.io);
  while (acceptor.is_open()) {
    error_code error;
    auto socket = co_await acceptor.async_accept(asio::redirect_error(asio::use_awaitable, error));
    if (!acceptor.is_open()) break;
    if (!error) {
      const std::string address = address_of(socket, error);
      if (!error) receive(HttpConnection::Socket(std::move(socket)), address);
      continue;
    }
    // No descriptor is free, or the client has left already; connections under way go on.
    pause.expires_after(kAcceptPause);
    co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
  }
}

void HttpServer::Parts::receive(HttpConnection::Socket socket, const std::string& address) {
  error_code error;
  static_cast<void>(socket.non_blocking(true, error));
  static_cast<void>(socket.set_option(tcp::no_delay(true), error));  // a Unix socket knows neither
  static_cast<void>(socket.set_option(asio::socket_base::keep_alive(true), error));
  const auto same = core.by_address.find(address);
  const bool too_many = core.connections >= core.options.connections;
  // All clients of a proxy, or of a Unix socket, come from one address.
  const auto& proxies = core.options.trusted_proxies;
  const bool proxy = address == kUnixAddress || std::find(proxies.begin(), proxies.end(), address) != proxies.end();
  const bool too_many_here =
      !proxy && same != core.by_address.end() && same->second >= core.options.connections_per_address;
  if (too_many || too_many_here) {
    ++core.refused;
    if (core.connections >= core.options.connections + kRefusedAtATime) return;
  }
  const auto connection = std::make_shared<HttpConnection>(core, std::move(socket), address);
  core.open.emplace(connection.get(), connection);
  if (too_many) {
    connection->start_refusing({api::Cause::kOverloaded, "the server has too many connections"});
  } else if (too_many_here) {
    connection->start_refusing({api::Cause::kTooManyRequests, "there are too many connections from this address"});
  } else {
    ++core.accepted;
    connection->start();
  }
}

void HttpServer::Parts::run() {
  while (true) {
    try {
      core.io->run();
      return;
    } catch (const std::exception& error) {
      log::error("the network thread goes on after an error: {}", error.what());
    }
  }
}

Result<std::unique_ptr<HttpServer>> HttpServer::start(HttpOptions options, std::vector<Route> routes, HttpHooks hooks) {
  HADAL_ASSIGN(const std::vector<asio::ip::address> addresses, parse_addresses(options.addresses));
  auto parts = std::make_unique<Parts>(std::move(options), std::move(routes), std::move(hooks));
  HttpCore& core = parts->core;
  core.rules = {.host_names = core.options.host_names,
                .cors_origins = core.options.cors_origins,
                .trusted_proxies = core.options.trusted_proxies,
                .body_limit = core.options.limits.body,
                .gate = core.hooks.gate,
                .random_bits = random_bits};
  for (const asio::ip::address& address : addresses) {
    core.rules.loopback_only = core.rules.loopback_only && address.is_loopback();
  }
  HADAL_TRY(parts->open_all(addresses));
  HADAL_TRY(parts->open_unix());
  parts->work.emplace(asio::make_work_guard(*core.io));
  for (tcp::acceptor& acceptor : parts->acceptors) {
    asio::co_spawn(*core.io, parts->accept(acceptor), asio::detached);
  }
  if (parts->unix_acceptor) asio::co_spawn(*core.io, parts->accept(*parts->unix_acceptor), asio::detached);
  parts->network = std::thread([raw = parts.get()] { raw->run(); });
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(parts)));
}

HttpServer::HttpServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

HttpServer::~HttpServer() { stop(); }

std::uint16_t HttpServer::port() const { return parts_->port; }

void HttpServer::begin_serving() { parts_->core.phase = ServingPhase::kServing; }

void HttpServer::begin_drain() { parts_->core.phase = ServingPhase::kDraining; }

ServingPhase HttpServer::phase() const { return parts_->core.phase; }

bool HttpServer::wait_until_idle(std::chrono::steady_clock::time_point deadline) {
  return parts_->core.under_way.wait_for_none(deadline);
}

void HttpServer::stop() {
  const std::lock_guard lock(parts_->stop_mutex);
  if (!parts_->network.joinable()) return;
  asio::post(*parts_->core.io, [parts = parts_.get()] {
    error_code ignored;
    for (tcp::acceptor& acceptor : parts->acceptors) static_cast<void>(acceptor.close(ignored));
    if (parts->unix_acceptor) {
      static_cast<void>(parts->unix_acceptor->close(ignored));
      ::unlink(parts->core.options.unix_path.c_str());
    }
    std::vector<std::shared_ptr<HttpConnection>> open;  // closing one may end it and change the table
    open.reserve(parts->core.open.size());
    for (const auto& [raw, weak] : parts->core.open) open.push_back(weak.lock());
    for (const auto& connection : open) {
      if (connection) connection->close();
    }
    parts->work.reset();
  });
  parts_->network.join();
  parts_->core.handlers.stop();
  parts_->core.handlers.join();
}

HttpFigures HttpServer::figures() const {
  const HttpCore& core = parts_->core;
  return {.connections = core.connections,
          .requests = core.under_way.value(),
          .accepted = core.accepted,
          .refused = core.refused,
          .stalls = core.stalls};
}

}  // namespace hadal::server
