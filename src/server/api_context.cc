#include "server/api_context.h"

#include <fmt/core.h>

#include <utility>

namespace hadal::server {
namespace {

Refusal not_permitted(std::string_view what) {
  return {.error = {api::Cause::kNotPermitted, "This key may not use " + std::string(what) + "."}};
}

std::optional<Refusal> missing_permission(const Identity& identity, Access access) {
  switch (access) {
    case Access::kOpen:
    case Access::kKey:
      return std::nullopt;
    case Access::kInfer:
      if (!identity.may(Permission::kInfer)) return not_permitted("the model");
      return std::nullopt;
    case Access::kMetrics:
      if (!identity.may(Permission::kMetrics)) return not_permitted("metrics");
      return std::nullopt;
    case Access::kAdmin:
      if (!identity.may(Permission::kAdmin)) return not_permitted("this endpoint");
      return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace

Gate make_gate(const ApiContext& context) {
  return [&context](const HttpRequest& request, const Route& route) -> tl::expected<GatePass, Refusal> {
    const auto now = Clock::now();
    const auto today = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
    auto identity = context.keys->authenticate(request.head, request.family, request.address, now, today);
    if (!identity) return tl::unexpected(identity.error());
    if (auto missing = missing_permission(*identity, route.access)) return tl::unexpected(std::move(*missing));
    const auto pass = std::make_shared<CallerPass>(CallerPass{.identity = std::move(*identity)});
    GatePass made{.pass = pass, .key_id = pass->identity.key.id};
    if (route.access == Access::kInfer) {
      auto lease = context.limiter->begin(pass->identity.key, pass->identity.account, now);
      if (!lease) return tl::unexpected(lease.error());
      pass->lease = std::move(*lease);
      made.headers = rate_limit_headers(request.family, pass->lease.state(now));
    }
    return made;
  };
}

CallerPass& caller(const HttpRequest& request) { return **std::any_cast<std::shared_ptr<CallerPass>>(&request.pass); }

std::string replay_domain(const engine::PrefixDomain& domain) {
  return fmt::format("{:016x}{:016x}", domain.hash[0], domain.hash[1]);
}

void refuse(ResponseStream& answer, api::Family family, const Refusal& refusal) {
  answer.respond(error_response(family, refusal.error, refusal.retry_after));
}

}  // namespace hadal::server
