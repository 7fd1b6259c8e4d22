#include "server/http_admission.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "api/ids.h"
#include "server/http_origin.h"
#include "server/http_text.h"

namespace hadal::server {
namespace {

constexpr std::size_t kClientIdBytes = 128;
constexpr double kPhaseRetrySeconds = 5;

bool is_lower_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool is_zero(std::string_view text) { return text.find_first_not_of('0') == std::string_view::npos; }

struct Trace {
  std::string_view id;     // 32 digits
  std::string_view flags;  // 2 digits
};

/// W3C Trace Context, version 00: "00-<32 digits>-<16 digits>-<2 digits>".
std::optional<Trace> read_trace(const RequestHead& head) {
  const std::string_view text = find_header(head.headers, "traceparent").value_or("");
  if (text.size() != 55 || !text.starts_with("00-") || text[35] != '-' || text[52] != '-') return std::nullopt;
  const Trace trace{text.substr(3, 32), text.substr(53)};
  const std::string_view parent = text.substr(36, 16);
  if (!is_lower_hex(trace.id) || !is_lower_hex(parent) || !is_lower_hex(trace.flags)) return std::nullopt;
  if (is_zero(trace.id) || is_zero(parent)) return std::nullopt;
  return trace;
}

/// The last address of X-Forwarded-For that no trusted proxy has, if `peer` is one.
std::string client_address(const RequestHead& head, std::string peer, const std::vector<std::string>& trusted) {
  const auto trusts = [&](std::string_view address) {
    return std::find(trusted.begin(), trusted.end(), address) != trusted.end();
  };
  if (!trusts(peer)) return peer;
  std::string_view list = find_header(head.headers, "x-forwarded-for").value_or("");
  while (!list.empty()) {
    const std::size_t comma = list.rfind(',');
    const std::string_view last = comma == std::string_view::npos ? list : list.substr(comma + 1);
    const std::string_view address = trim(last);
    list = comma == std::string_view::npos ? std::string_view() : list.substr(0, comma);
    if (!visible_ascii(address, 64)) break;
    peer = address;
    if (!trusts(peer)) break;
  }
  return peer;
}

std::string unknown_path_message(const RequestHead& head) {
  if (!head.path.starts_with("/v1/v1")) return "there is nothing at this path";
  const std::string host(find_header(head.headers, "host").value_or("this server"));
  return fmt::format("this client adds /v1 itself: its base URL is http://{}, without /v1", host);
}

/// What is wrong with the type of a body that must be JSON; "" if nothing.
std::string_view media_type_fault(const RequestHead& head) {
  if (lower(find_header(head.headers, "content-encoding").value_or("identity")) != "identity")
    return "a compressed body is not read: send it without encoding";
  const std::string type = lower(find_header(head.headers, "content-type").value_or(""));
  std::string_view rest = type;
  for (bool first = true; first || !rest.empty(); first = false) {
    const std::size_t end = std::min(rest.find(';'), rest.size());
    const std::string_view part = trim(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (first && part != "application/json") return "the body must have Content-Type: application/json";
    if (part.starts_with("charset=") && part != "charset=utf-8" && part != "charset=\"utf-8\"") {
      return "the body must be UTF-8";
    }
  }
  return {};
}

void refuse(Admission& admission, std::string label, Response response) {
  admission.label = std::move(label);
  admission.answer = std::move(response);
}

void refuse(Admission& admission, std::string label, api::Cause cause, std::string message, double retry_after = 0) {
  refuse(admission, std::move(label),
         error_response(admission.request.family, {cause, std::move(message)}, retry_after));
}

/// Host and Origin. False: refused.
bool check_origin(Admission& admission, const AdmissionRules& rules) {
  const RequestHead& head = admission.request.head;
  const auto host = find_header(head.headers, "host");
  if (rules.loopback_only && host && !is_local_host(*host, rules.host_names)) {
    refuse(admission, "host",
           problem_response(admission.request.family,
                            {403, "this server has another name; --host-name gives it further ones"}));
    return false;
  }
  const Origin origin = origin_of(head, rules.cors_origins);
  const bool changes_nothing = head.method == "GET" || head.method == "HEAD" || head.method == "OPTIONS";
  if (origin == Origin::kForeign && !changes_nothing) {
    refuse(admission, "origin", problem_response(admission.request.family, {403, "this page's origin is not allowed"}));
    return false;
  }
  if (origin == Origin::kAllowed) {
    for (Header& header : cors_headers(head)) admission.form.headers.push_back(std::move(header));
    if (is_preflight(head)) {
      admission.answer = preflight_response(head);
      return false;
    }
  }
  return true;
}

/// Path, method, declared size. False: refused.
bool check_route(Admission& admission, const RouteTable& routes, const AdmissionRules& rules) {
  HttpRequest& request = admission.request;
  const RouteTable::Match match = routes.find(request.head.method, request.head.path);
  if (match.allow.empty()) {
    refuse(admission, "path", api::Cause::kUnknownPath, unknown_path_message(request.head));
    return false;
  }
  if (match.route == nullptr) {
    refuse(admission, "method", api::Cause::kWrongMethod, fmt::format("this path answers {} only", match.allow));
    admission.answer->headers.push_back({"allow", match.allow});
    return false;
  }
  admission.route = match.route;
  request.rest = match.rest;
  request.family = match.route->family;
  // Nobody needs a body with GET, and it might be a stranger's.
  const bool needless = match.route->method == "GET" && request.head.has_body();
  if (needless || request.head.content_length.value_or(0) > rules.body_limit) {
    refuse(admission, "size", api::Cause::kBodyTooLarge,
           needless ? "a GET request has no body" : fmt::format("the body is larger than {} bytes", rules.body_limit));
    admission.answer->close = true;
    return false;
  }
  return true;
}

/// Phase, key and rate, content type. False: refused.
bool check_caller(Admission& admission, const AdmissionRules& rules, ServingPhase phase) {
  HttpRequest& request = admission.request;
  const Route& route = *admission.route;
  const bool of_model = route.access == Access::kKey || route.access == Access::kInfer;
  if (of_model && phase != ServingPhase::kServing) {
    const bool loading = phase == ServingPhase::kLoading;
    refuse(admission, loading ? "loading" : "draining", api::Cause::kOverloaded,
           loading ? "the model is being loaded" : "the server is shutting down", kPhaseRetrySeconds);
    return false;
  }
  if (route.access != Access::kOpen && rules.gate) {
    auto pass = rules.gate(request, route);
    if (!pass) {
      const Refusal& refusal = pass.error();
      admission.label = refusal.label;
      admission.answer = error_response(request.family, refusal.error, refusal.retry_after);
      return false;
    }
    request.pass = std::move(pass->pass);
    admission.key_id = std::move(pass->key_id);
    for (Header& header : pass->headers) admission.form.headers.push_back(std::move(header));
  }
  if (route.method != "POST") return true;
  const std::string_view fault = media_type_fault(request.head);
  if (fault.empty()) return true;
  refuse(admission, "media_type", api::Cause::kWrongMediaType, std::string(fault));
  return false;
}

}  // namespace

void name_request(HttpRequest& request, const std::function<std::uint64_t()>& random_bits) {
  request.id = api::request_id(random_bits);
  if (const auto trace = read_trace(request.head)) {
    request.trace_id = trace->id;
  } else {
    const std::uint64_t high = random_bits();
    request.trace_id = fmt::format("{:016x}{:016x}", high, random_bits());
  }
  for (const std::string_view name : {"x-request-id", "x-client-request-id"}) {
    const auto given = find_header(request.head.headers, name);
    if (!given || !request.client_id.empty()) continue;
    request.client_id = visible_ascii(*given, kClientIdBytes).value_or("");
  }
}

std::vector<Header> common_headers(const HttpRequest& request) {
  std::vector<Header> headers = {{"x-request-id", request.id}, {"x-content-type-options", "nosniff"}};
  if (!request.client_id.empty()) headers.push_back({"x-client-request-id", request.client_id});
  if (request.family == api::Family::kDeepSeek) headers.push_back({"x-ds-trace-id", request.trace_id});
  return headers;
}

Admission admit(RequestHead head, std::string peer, const RouteTable& routes, const AdmissionRules& rules,
                ServingPhase phase) {
  Admission admission{.request = {.head = std::move(head)}};
  HttpRequest& request = admission.request;
  request.address = client_address(request.head, std::move(peer), rules.trusted_proxies);
  request.family = family_of_path(request.head.path);
  name_request(request, rules.random_bits);
  admission.form.minor_version = request.head.minor_version;
  admission.form.head_only = request.head.method == "HEAD";
  admission.form.keep_alive = request.head.keep_alive;
  if (check_origin(admission, rules) && check_route(admission, routes, rules)) {
    static_cast<void>(check_caller(admission, rules, phase));
  }
  for (Header& header : common_headers(request)) admission.form.headers.push_back(std::move(header));
  if (const auto trace = read_trace(request.head)) {
    const std::string span = fmt::format("{:016x}", rules.random_bits() | 1);  // zero means none
    admission.form.headers.push_back({"traceparent", fmt::format("00-{}-{}-{}", trace->id, span, trace->flags)});
  }
  const bool of_api = admission.route == nullptr || admission.route->access != Access::kOpen;
  if (request.family == api::Family::kOpenAi && of_api) {
    admission.form.headers.push_back({"openai-version", "2020-10-01"});
    admission.form.tells_time = true;
  }
  return admission;
}

}  // namespace hadal::server
