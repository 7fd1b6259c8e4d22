#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/result.h"

namespace hadal::formats {

/// Parses JSON from outside, keys in file order. `where` is named in messages.
/// Errors: kResourceExhausted (more than `max_bytes`), kCorrupt (not JSON, nested deeper than 32, a key twice in one
/// object).
[[nodiscard]] Result<nlohmann::ordered_json> parse_json(std::string_view text, std::string_view where,
                                                        std::int64_t max_bytes);

}  // namespace hadal::formats
