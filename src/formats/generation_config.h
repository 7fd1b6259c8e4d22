#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

#include "base/result.h"

namespace hadal::formats {

/// What generation_config.json of a checkpoint recommends for drawing tokens; what it does not say is empty.
struct GenerationConfig {
  std::optional<double> temperature;  // 0 where the file says that nothing is to be drawn
  std::optional<double> top_p;
  std::optional<std::int64_t> top_k;
};

/// Other members are ignored. Errors: kCorrupt (no JSON object), kInvalidArgument (a value of a wrong type or out of
/// range), each naming `where`.
[[nodiscard]] Result<GenerationConfig> parse_generation_config(std::string_view text, std::string_view where);

/// That of a checkpoint directory; nothing is set when there is no such file. Errors: as above; kUnavailable.
[[nodiscard]] Result<GenerationConfig> read_generation_config(const std::filesystem::path& directory);

}  // namespace hadal::formats
