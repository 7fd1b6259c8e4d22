#pragma once

#include <cstdint>
#include <string_view>

namespace hadal {

/// FNV-1a with 64 bits (Fowler, Noll, Vo): a key for a name. Not for untrusted input.
[[nodiscard]] constexpr std::uint64_t fnv1a(std::string_view text) {
  std::uint64_t value = 0xcbf29ce484222325U;
  for (const char c : text) value = (value ^ static_cast<std::uint8_t>(c)) * 0x100000001b3U;
  return value;
}

}  // namespace hadal
