#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "server/http_message.h"

namespace hadal::server {

/// Whether a Host header names this server while it listens on loopback only: localhost, 127.0.0.1 or [::1] with any
/// port, or one of `names`. Others come from pages whose name was made to point here (DNS rebinding).
[[nodiscard]] bool is_local_host(std::string_view host, const std::vector<std::string>& names);

/// Where the page that sends a request comes from.
enum class Origin : std::uint8_t {
  kNone,     // no page, or one of ours
  kAllowed,  // a site of the list
  kForeign,
};

[[nodiscard]] Origin origin_of(const RequestHead& head, const std::vector<std::string>& allowed);

/// Headers of an answer to a page of an allowed origin.
[[nodiscard]] std::vector<Header> cors_headers(const RequestHead& head);

/// What a browser asks before it sends a request from another site's page.
[[nodiscard]] bool is_preflight(const RequestHead& head);
/// The answer to it: of the headers that it asks for, those that clients of the API send.
[[nodiscard]] Response preflight_response(const RequestHead& head);

}  // namespace hadal::server
