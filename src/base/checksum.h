#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace hadal {

/// XXH3 with 64 bits (Y. Collet): finds damage, not forgery.
[[nodiscard]] std::uint64_t checksum(std::span<const std::byte> bytes);

}  // namespace hadal
