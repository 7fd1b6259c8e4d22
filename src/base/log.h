#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <string_view>

namespace hadal::log {

enum class Level : std::uint8_t { kDebug, kInfo, kWarning, kError, kOff };

/// Messages below `level` are dropped. The default is kWarning.
void set_level(Level level);
[[nodiscard]] bool enabled(Level level);

/// Writes one line to standard error. Thread-safe.
void write(Level level, std::string_view message);

template <class... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::kDebug)) write(Level::kDebug, fmt::format(format, static_cast<Args&&>(args)...));
}
template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::kInfo)) write(Level::kInfo, fmt::format(format, static_cast<Args&&>(args)...));
}
template <class... Args>
void warning(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::kWarning)) write(Level::kWarning, fmt::format(format, static_cast<Args&&>(args)...));
}
template <class... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::kError)) write(Level::kError, fmt::format(format, static_cast<Args&&>(args)...));
}

}  // namespace hadal::log
