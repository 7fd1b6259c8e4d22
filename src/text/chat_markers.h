#pragma once

#include <string_view>

// Strings of the V4 chat format that have a meaning to the model. The bars are U+FF5C, the low lines U+2581.
namespace hadal::text::marker {

inline constexpr std::string_view kBos = "<｜begin▁of▁sentence｜>";
inline constexpr std::string_view kEos = "<｜end▁of▁sentence｜>";
inline constexpr std::string_view kPad = "<｜▁pad▁｜>";
inline constexpr std::string_view kUser = "<｜User｜>";
inline constexpr std::string_view kAssistant = "<｜Assistant｜>";
inline constexpr std::string_view kLatestReminder = "<｜latest_reminder｜>";
inline constexpr std::string_view kThink = "<think>";
inline constexpr std::string_view kThinkEnd = "</think>";
inline constexpr std::string_view kDsml = "｜DSML｜";
inline constexpr std::string_view kToolResult = "<tool_result>";
inline constexpr std::string_view kToolResultEnd = "</tool_result>";

}  // namespace hadal::text::marker
