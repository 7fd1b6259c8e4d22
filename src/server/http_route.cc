#include "server/http_route.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace hadal::server {
namespace {

/// What "*" of `pattern` stands for in `path`; "" with an exact match; null without one.
std::optional<std::string_view> match(std::string_view pattern, std::string_view path) {
  if (pattern == path) return std::string_view();
  if (!pattern.ends_with("/*")) return std::nullopt;
  const std::string_view stem = pattern.substr(0, pattern.size() - 1);
  if (!path.starts_with(stem) || path.size() == stem.size()) return std::nullopt;
  const std::string_view rest = path.substr(stem.size());
  return rest.find('/') == std::string_view::npos ? std::optional(rest) : std::nullopt;
}

bool is_below(std::string_view path, std::string_view name) {
  return path == name || (path.starts_with(name) && path[name.size()] == '/');
}

}  // namespace

RouteTable::RouteTable(std::vector<Route> routes) : routes_(std::move(routes)) {}

RouteTable::Match RouteTable::find(std::string_view method, std::string_view path) const {
  const std::string_view wanted = method == "HEAD" ? "GET" : method;
  Match found;
  for (const Route& route : routes_) {
    const auto rest = match(route.path, path);
    if (!rest) continue;
    if (!found.allow.empty()) found.allow += ", ";
    found.allow += route.method;
    if (route.method == "GET") found.allow += ", HEAD";
    if (route.method != wanted || found.route != nullptr) continue;
    found.route = &route;
    found.rest = *rest;
  }
  return found;
}

api::Family family_of_path(std::string_view path) {
  for (const std::string_view name : {"/beta", "/chat", "/completions", "/responses", "/models", "/user"}) {
    if (is_below(path, name)) return api::Family::kDeepSeek;
  }
  return api::Family::kOpenAi;
}

Response error_response(api::Family family, const api::ApiError& error, double retry_after) {
  Response response{.status = api::http_status(family, error.cause), .body = api::error_body(family, error)};
  if (api::names_retry_time(family, error.cause)) {
    response.headers.push_back({"retry-after", fmt::to_string(retry_after_seconds(retry_after))});
  }
  if (const auto retry = api::should_retry(family, error.cause)) {
    response.headers.push_back({"x-should-retry", *retry ? "true" : "false"});
  }
  return response;
}

Response problem_response(api::Family family, const HttpProblem& problem) {
  return {.status = problem.status,
          .body = api::error_body(family, {api::Cause::kMalformed, problem.message}),
          .close = true};
}

}  // namespace hadal::server
