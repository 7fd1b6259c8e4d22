#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/result.h"

namespace hadal::text {

/// Unpacked contents of a zstd file (one frame or several), at most `limit` bytes; more are never unpacked. Errors: as
/// read_file, kCorrupt (not zstd, damaged or cut short), kResourceExhausted (beyond the limit).
[[nodiscard]] Result<std::string> read_zstd_file(const std::filesystem::path& path, std::int64_t limit);

}  // namespace hadal::text
