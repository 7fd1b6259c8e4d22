#pragma once

#include <vector>

#include "server/api_context.h"

namespace hadal::server {

/// GET of models and of the balance, both families. `context` must outlive the routes.
[[nodiscard]] std::vector<Route> model_routes(const ApiContext& context);

/// POST of /tokenize, /detokenize and /apply-template.
[[nodiscard]] std::vector<Route> token_routes(const ApiContext& context);

}  // namespace hadal::server
