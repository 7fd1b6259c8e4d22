#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string_view>

#include "api/error.h"

namespace hadal::server {

/// Why a request goes no further than the keys and limits.
struct Refusal {
  api::ApiError error;
  double retry_after = 0;       // seconds; 0: waiting does not help
  std::string_view label = "";  // of the metric that counts it
};

/// Value of `retry-after`: whole seconds, at least 1.
[[nodiscard]] inline std::int64_t retry_after_seconds(double seconds) {
  constexpr double kRounding = 1e-9;
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil(seconds - kRounding)));
}

}  // namespace hadal::server
