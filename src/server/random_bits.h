#pragma once

#include <cstdint>

namespace hadal::server {

/// 64 bits from the kernel's generator. Any thread.
[[nodiscard]] std::uint64_t random_bits();

}  // namespace hadal::server
