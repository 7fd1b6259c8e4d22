#pragma once

#include <cstddef>
#include <string_view>

#include "api/error.h"
#include "text/json_text.h"

namespace hadal::api {

/// Limits of a request's body; beyond them it is refused before a tree of it exists.
struct BodyLimits {
  std::size_t bytes = std::size_t{48} << 20;
  std::size_t keys = 10'000;      // of one object
  std::size_t items = 1'000'000;  // of one array
  int depth = 64;
};

/// The body as one JSON object: UTF-8, no byte order mark, nothing behind it, no double keys, no NaN. Errors:
/// kBodyTooLarge, kMalformed.
[[nodiscard]] ApiResult<text::JsonValue> read_body(std::string_view body, const BodyLimits& limits = {});

}  // namespace hadal::api
