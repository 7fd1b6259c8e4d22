#pragma once

#include <cstdint>

namespace hadal {

/// Side of an FP8 weight's square scale tile, and length of an FP4 weight's scale block (spec/model.md 3.2).
inline constexpr std::int64_t kFp8Tile = 128;
inline constexpr std::int64_t kFp4Block = 32;

}  // namespace hadal
