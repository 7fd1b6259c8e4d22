#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace hadal {

using Sha256Digest = std::array<std::uint8_t, 32>;

/// SHA-256 (FIPS 180-4) of `bytes`.
[[nodiscard]] Sha256Digest sha256(std::string_view bytes);

/// The digest in lower-case hexadecimal, 64 characters.
[[nodiscard]] std::string sha256_hex(std::string_view bytes);

}  // namespace hadal
