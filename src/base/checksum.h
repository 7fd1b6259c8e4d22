#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

namespace hadal {

/// XXH3 with 64 bits (Y. Collet): finds damage, not forgery.
[[nodiscard]] std::uint64_t checksum(std::span<const std::byte> bytes);

struct Hash128 {
  std::uint64_t low = 0, high = 0;

  friend bool operator==(const Hash128&, const Hash128&) = default;
};

/// XXH3 with 128 bits: a name for bytes that no two inputs share by chance.
[[nodiscard]] Hash128 hash128(std::span<const std::byte> bytes);

}  // namespace hadal

template <>
struct std::hash<hadal::Hash128> {
  [[nodiscard]] std::size_t operator()(const hadal::Hash128& value) const noexcept {
    return static_cast<std::size_t>(value.low);
  }
};
