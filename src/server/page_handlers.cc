#include "server/page_handlers.h"

#include <memory>
#include <string>
#include <utility>

#include "web/page_assets.h"

namespace hadal::server {
namespace {

/// Whether a list such as "gzip, br;q=0" names the coding without forbidding it.
bool accepts(std::string_view list, std::string_view coding) {
  for (std::size_t at = list.find(coding); at != std::string_view::npos; at = list.find(coding, at + 1)) {
    const std::string_view rest = list.substr(at + coding.size());
    const std::string_view parameters = rest.substr(0, rest.find(','));
    if (parameters.find("q=0") == std::string_view::npos || parameters.find("q=0.") != std::string_view::npos) {
      return true;
    }
  }
  return false;
}

void show(const web::PageAsset& asset, const HttpRequest& request, ResponseStream& answer) {
  Response made{.content_type = std::string(asset.content_type)};
  for (const web::PageHeader& header : web::page_headers()) {
    if (header.name == "X-Content-Type-Options") continue;  // every answer carries it
    made.headers.push_back({std::string(header.name), std::string(header.value)});
  }
  made.headers.push_back({"cache-control", std::string(asset.cache_control)});
  made.headers.push_back({"etag", std::string(asset.etag)});
  made.headers.push_back({"vary", "accept-encoding"});
  const auto known = find_header(request.head.headers, "if-none-match");
  if (known && (*known == "*" || known->find(asset.etag) != std::string_view::npos)) {
    made.status = 304;
    answer.respond(std::move(made));
    return;
  }
  const bool gzip =
      !asset.gzip.empty() && accepts(find_header(request.head.headers, "accept-encoding").value_or(""), "gzip");
  if (gzip) made.headers.push_back({"content-encoding", "gzip"});
  made.body = gzip ? asset.gzip : asset.bytes;
  answer.respond(std::move(made));
}

}  // namespace

std::vector<Route> page_routes() {
  std::vector<Route> routes;
  for (const web::PageAsset& asset : web::page_assets()) {
    routes.push_back(
        {.method = "GET",
         .path = std::string(asset.path),
         .family = api::Family::kOpenAi,
         .access = Access::kOpen,
         .handler = [&asset](const HttpRequest& request,
                             const std::shared_ptr<ResponseStream>& answer) { show(asset, request, *answer); },
         .quick = true});
  }
  return routes;
}

}  // namespace hadal::server
