#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace hadal {

/// "2026-11-25T14:05:09Z" (RFC 3339), for years 0 to 9999.
[[nodiscard]] std::string utc_text(std::chrono::sys_seconds time);

/// "2026-11-25".
[[nodiscard]] std::string utc_day(std::chrono::sys_days day);

/// The time of "2026-11-25T14:05:09Z", or the beginning of the day "2026-11-25". None: any other text, or a date that
/// does not exist.
[[nodiscard]] std::optional<std::chrono::sys_seconds> read_utc(std::string_view text);

}  // namespace hadal
