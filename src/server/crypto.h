#pragma once

#include <cstdint>
#include <span>

#include "base/result.h"

namespace hadal::server {

/// Whether the bytes are equal; takes equally long whatever they are. `a` and `b` must have one length.
[[nodiscard]] bool equal_in_constant_time(std::span<const std::uint8_t> a, std::span<const std::uint8_t> b);

/// Fills `out` with bytes that nobody can foretell. Error: kUnavailable.
[[nodiscard]] Status random_bytes(std::span<std::uint8_t> out);

}  // namespace hadal::server
