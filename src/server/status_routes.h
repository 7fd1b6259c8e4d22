#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "server/http_route.h"

namespace hadal::server {

/// Whether a request would be accepted now.
enum class Readiness : std::uint8_t { kReady, kLoading, kDraining, kFull };

/// What the routes about the server itself tell. Called on the network thread: must not block.
struct StatusSources {
  std::string version{};
  std::function<Readiness()> readiness{};
  std::function<std::string()> metrics{};
  bool metrics_open = true;  // without a key: on loopback, or because it was asked for
};

/// GET /health, /v1/health, /live, /ping; /ready; /version; /metrics.
[[nodiscard]] std::vector<Route> status_routes(const StatusSources& sources);

}  // namespace hadal::server
