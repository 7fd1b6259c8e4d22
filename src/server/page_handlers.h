#pragma once

#include <vector>

#include "server/http_route.h"

namespace hadal::server {

/// GET of the page and its files, without a key. Needs no model.
[[nodiscard]] std::vector<Route> page_routes();

}  // namespace hadal::server
