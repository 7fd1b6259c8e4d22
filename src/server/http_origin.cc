#include "server/http_origin.h"

#include <algorithm>
#include <array>

#include "server/http_text.h"

namespace hadal::server {
namespace {

constexpr std::array<std::string_view, 8> kHeaders = {"authorization",     "content-type",   "x-api-key",
                                                      "anthropic-version", "anthropic-beta", "x-request-id",
                                                      "traceparent",       "user-agent"};
constexpr std::string_view kBrowserAccess = "anthropic-dangerous-direct-browser-access";
constexpr std::array<std::string_view, 2> kHeaderPrefixes = {"x-stainless-", "openai-"};

// Browsers know no prefixes here.
constexpr std::string_view kExposed =
    "x-request-id, request-id, retry-after, x-ratelimit-limit-requests, x-ratelimit-remaining-requests, "
    "x-ratelimit-reset-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens, "
    "x-hadal-ignored, x-hadal-max-tokens, x-hadal-seed, x-hadal-model";

/// Without ":port".
std::string_view without_port(std::string_view host) {
  const std::size_t colon = host.rfind(':');
  const std::size_t bracket = host.rfind(']');
  if (colon == std::string_view::npos || (bracket != std::string_view::npos && colon < bracket)) return host;
  const std::string_view port = host.substr(colon + 1);
  const bool digits = std::all_of(port.begin(), port.end(), [](char c) { return c >= '0' && c <= '9'; });
  return digits ? host.substr(0, colon) : host;
}

bool may_be_sent(std::string_view name) {
  const bool plain =
      std::all_of(name.begin(), name.end(), [](char c) { return (c >= 'a' && c <= 'z') || c == '-' || c == '_'; });
  if (!plain) return false;
  if (name == kBrowserAccess || std::find(kHeaders.begin(), kHeaders.end(), name) != kHeaders.end()) return true;
  return std::any_of(kHeaderPrefixes.begin(), kHeaderPrefixes.end(),
                     [&](std::string_view prefix) { return name.starts_with(prefix); });
}

/// The names of a comma-separated list that may be sent, as such a list.
std::string allowed_names(std::string_view list) {
  std::string out;
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    const std::string name = lower(trim(list.substr(0, comma)));
    list.remove_prefix(std::min(comma + 1, list.size()));
    if (name.empty() || !may_be_sent(name)) continue;
    if (!out.empty()) out += ", ";
    out += name;
  }
  return out;
}

}  // namespace

bool is_local_host(std::string_view host, const std::vector<std::string>& names) {
  const std::string name = lower(without_port(host));
  if (name == "localhost" || name == "127.0.0.1" || name == "[::1]") return true;
  return std::any_of(names.begin(), names.end(), [&](const std::string& other) { return lower(other) == name; });
}

Origin origin_of(const RequestHead& head, const std::vector<std::string>& allowed) {
  const auto origin = find_header(head.headers, "origin");
  if (!origin) return Origin::kNone;
  const std::string host(find_header(head.headers, "host").value_or(""));
  // A proxy in front may have taken TLS off.
  if (!host.empty() && (*origin == "http://" + host || *origin == "https://" + host)) return Origin::kNone;
  const auto matches = [&](const std::string& other) { return other == "*" || other == *origin; };
  return std::any_of(allowed.begin(), allowed.end(), matches) ? Origin::kAllowed : Origin::kForeign;
}

std::vector<Header> cors_headers(const RequestHead& head) {
  return {{"access-control-allow-origin", std::string(find_header(head.headers, "origin").value_or(""))},
          {"access-control-expose-headers", std::string(kExposed)},
          {"vary", "Origin"}};
}

bool is_preflight(const RequestHead& head) {
  return head.method == "OPTIONS" && find_header(head.headers, "access-control-request-method").has_value();
}

Response preflight_response(const RequestHead& head) {
  Response response{.status = 204};
  response.headers = {{"access-control-allow-methods", "GET, POST, OPTIONS"}, {"access-control-max-age", "600"}};
  const std::string names =
      allowed_names(find_header(head.headers, "access-control-request-headers").value_or(std::string_view()));
  if (!names.empty()) response.headers.push_back({"access-control-allow-headers", names});
  return response;
}

}  // namespace hadal::server
