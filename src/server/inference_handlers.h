#pragma once

#include "server/api_context.h"

namespace hadal::server {

/// POST .../chat/completions and .../completions of both families. `context` must outlive the routes.
[[nodiscard]] std::vector<Route> inference_routes(const ApiContext& context);

}  // namespace hadal::server
