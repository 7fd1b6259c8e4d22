#pragma once

#include <string_view>

#include "api/error.h"

namespace hadal::server {

/// Why a request goes no further than the keys and limits.
struct Refusal {
  api::ApiError error;
  double retry_after = 0;       // seconds; 0: waiting does not help
  std::string_view label = "";  // of the metric that counts it
};

}  // namespace hadal::server
