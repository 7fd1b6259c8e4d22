#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace hadal::train {

/// Mixes a 64-bit number (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
[[nodiscard]] constexpr std::uint64_t splitmix64(std::uint64_t value) {
  value += 0x9E3779B97F4A7C15U;
  value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9U;
  value = (value ^ value >> 27) * 0x94D049BB133111EBU;
  return value ^ value >> 31;
}

/// One key of several numbers.
template <class... Numbers>
[[nodiscard]] constexpr std::uint64_t mixed_key(Numbers... numbers) {
  std::uint64_t key = 0;
  ((key = splitmix64(key ^ static_cast<std::uint64_t>(numbers))), ...);
  return key;
}

/// A keyed permutation of [0, count), computed place by place: a Feistel network of four rounds on the smallest even
/// number of bits that holds `count`, walked on until it lands inside.
class Permutation {
 public:
  Permutation(std::uint64_t key, std::int64_t count)
      : key_(key),
        count_(static_cast<std::uint64_t>(count)),
        half_bits_((static_cast<int>(std::bit_width(count_ - 1)) + 1) / 2) {
    if (half_bits_ == 0) half_bits_ = 1;
  }

  /// `place` in [0, count), count at least 1.
  [[nodiscard]] std::int64_t operator()(std::int64_t place) const {
    auto value = static_cast<std::uint64_t>(place);
    do {
      value = once(value);
    } while (value >= count_);
    return static_cast<std::int64_t>(value);
  }

 private:
  [[nodiscard]] std::uint64_t once(std::uint64_t value) const {
    const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
    std::uint64_t left = value >> half_bits_;
    std::uint64_t right = value & mask;
    for (std::uint64_t round = 0; round < 4; ++round) {
      const std::uint64_t next = left ^ (mixed_key(key_, round, right) & mask);
      left = right;
      right = next;
    }
    return left << half_bits_ | right;
  }

  std::uint64_t key_;
  std::uint64_t count_;
  int half_bits_;
};

}  // namespace hadal::train
