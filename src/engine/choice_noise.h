#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/philox.h"

namespace hadal::engine {

/// The noise of one choice: an independent uniform variate for each token id, a pure function of seed, choice index,
/// absolute position of the chosen token, and id. Nothing else (time, request, batch, drafts) enters, so a choice can
/// be repeated, and a drafter that uses the same noise tends to the same token.
/// Philox counter: {id / 2, choice, position low, position high}; key: the seed. Even ids take words 0 and 1.
class ChoiceNoise {
 public:
  ChoiceNoise(std::uint64_t seed, std::uint32_t choice, std::int64_t position)
      : key_{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)},
        choice_(choice),
        position_(static_cast<std::uint64_t>(position)) {}

  /// The variates of tokens 2 pair and 2 pair + 1, in (0, 1); small values keep 53 significant bits down to 2^-65.
  [[nodiscard]] std::array<double, 2> pair(std::int64_t pair) const {
    const auto words = philox({static_cast<std::uint32_t>(pair), choice_, static_cast<std::uint32_t>(position_),
                               static_cast<std::uint32_t>(position_ >> 32)},
                              key_);
    return {uniform(words[0], words[1]), uniform(words[2], words[3])};
  }

  [[nodiscard]] double token(std::int64_t token) const { return pair(token / 2)[static_cast<std::size_t>(token % 2)]; }

 private:
  static double uniform(std::uint32_t low, std::uint32_t high) {
    const std::uint64_t bits = std::uint64_t{high} << 32 | low;
    return std::min((static_cast<double>(bits) + 0.5) * 0x1p-64, 1 - 0x1p-53);
  }

  std::array<std::uint32_t, 2> key_;
  std::uint32_t choice_;
  std::uint64_t position_;
};

}  // namespace hadal::engine
