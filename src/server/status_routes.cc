#include "server/status_routes.h"

#include <memory>
#include <string_view>
#include <utility>

#include "api/probes.h"
#include "text/json_text.h"

namespace hadal::server {
namespace {

using Answer = std::shared_ptr<ResponseStream>;

Response not_yet(std::string body) {
  return {.status = 503, .body = std::move(body), .headers = {{"retry-after", "1"}}};
}

Response not_yet_because(std::string_view message) {
  std::string body = R"({"error":{"code":503,"message":)";
  text::append_json_string(body, message);
  return not_yet(body + R"(,"type":"unavailable_error"}})");
}

Response health(Readiness readiness) {
  if (readiness == Readiness::kLoading) return not_yet(std::string(api::kLoading));
  return {.body = std::string(api::kHealthy)};
}

Response ready(Readiness readiness) {
  switch (readiness) {
    case Readiness::kReady:
      return {.body = std::string(api::kReady)};
    case Readiness::kLoading:
      return not_yet(std::string(api::kLoading));
    case Readiness::kDraining:
      return not_yet_because("Shutting down");
    case Readiness::kFull:
      break;
  }
  return not_yet_because("The queue is full");
}

}  // namespace

std::vector<Route> status_routes(const StatusSources& sources) {
  std::vector<Route> routes;
  const auto add = [&](std::string path, std::function<Response()> make, Access access = Access::kOpen) {
    routes.push_back(
        {.method = "GET",
         .path = std::move(path),
         .access = access,
         .handler = [make = std::move(make)](const HttpRequest&, const Answer& answer) { answer->respond(make()); },
         .quick = true});
  };
  for (const char* path : {"/health", "/v1/health", "/live", "/ping"}) {
    add(path, [readiness = sources.readiness] { return health(readiness()); });
  }
  add("/ready", [readiness = sources.readiness] { return ready(readiness()); });
  add("/version", [version = api::version_body(sources.version)] { return Response{.body = version}; });
  add(
      "/metrics",
      [metrics = sources.metrics] {
        return Response{.content_type = "text/plain; version=0.0.4; charset=utf-8", .body = metrics()};
      },
      sources.metrics_open ? Access::kOpen : Access::kMetrics);
  return routes;
}

}  // namespace hadal::server
