#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "server/http_route.h"

namespace hadal::server {

/// What requests are judged by before their bodies.
struct AdmissionRules {
  bool loopback_only = true;  // all addresses are; then Host is checked
  std::vector<std::string> host_names{};
  std::vector<std::string> cors_origins{};
  std::vector<std::string> trusted_proxies{};
  std::int64_t body_limit = 0;  // bytes
  Gate gate{};
  std::function<std::uint64_t()> random_bits{};
};

/// A request before its body, and who is to answer it.
struct Admission {
  HttpRequest request;
  const Route* route = nullptr;      // whoever refuses; null: no such path or method
  std::optional<Response> answer{};  // at once; none: by the route's handler, with the body
  std::string label{};               // of what refused it
  std::string key_id{};
  AnswerForm form{};
};

/// Checks a request: Host, Origin, path, method, declared size, phase, gate (key, rate), content type, in this
/// order.
[[nodiscard]] Admission admit(RequestHead head, std::string peer, const RouteTable& routes, const AdmissionRules& rules,
                              ServingPhase phase);

/// Headers that every answer has, and those that tell its id and the client's.
[[nodiscard]] std::vector<Header> common_headers(const HttpRequest& request);

/// Sets the ids of a request: its own, the trace that `traceparent` names or a new one, the client's.
void name_request(HttpRequest& request, const std::function<std::uint64_t()>& random_bits);

}  // namespace hadal::server
