#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/philox.h"
#include "text/utf8.h"

namespace hadal::text {

/// Numbers from a fixed seed: case `number` of test `seed` is always the same.
class Random {
 public:
  Random(std::uint32_t seed, std::uint32_t number) : seed_(seed), number_(number) {}
  std::uint32_t below(std::uint32_t bound) {
    if (used_ == 4) {
      block_ = philox({block_number_++, number_, 0, 0}, {seed_, 0});
      used_ = 0;
    }
    return block_[used_++] % bound;
  }

 private:
  std::uint32_t seed_;
  std::uint32_t number_;
  std::uint32_t block_number_ = 0;
  std::array<std::uint32_t, 4> block_{};
  std::size_t used_ = 4;
};

/// A random character, mostly from the neighbourhoods where the pre-tokenizer's rules meet.
inline char32_t random_character(Random& random) {
  static const std::vector<std::u32string> kPools = {
      U"abcXYZ", U"abcXYZ", U"0123456789", U" ", U"  \t", U"\n\r\n", U"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
      U"中文字一龥龦㐀", U"かなカナー・゠ゝゟ\u3040\u3097\u3099\u309B\u30FB", U"\u0301\u0300\u20D0\u0E31\uFE0F",
      U"½²Ⅷ٣५〇０１\U0001D7D8", U"，。！？“”«»—…", U"€©±→∑🎉👍\U0001F3FD",
      U"\x200D\x200B\x0001\x0007\x001C\x007F\xFEFF\xFFFF\xE000",
      U"\x85\xA0\x1680\x2003\x2028\x2029\x202F\x205F\x3000\x180E",
      // Added by Unicode 15 and 16.
      U"\U0001F6DC\U00011F02\U00011F50\u1C89\uA7CB\U000105C0\U00010D40\U0001FAE9\U00031350\u2FFC\u0CF3"};
  if (random.below(64) == 0) return 0;
  if (random.below(16) == 0) {
    const char32_t any = random.below(0x110000);
    return any >= 0xD800 && any < 0xE000 ? U'x' : any;
  }
  const std::u32string& pool = kPools[random.below(static_cast<std::uint32_t>(kPools.size()))];
  return pool[random.below(static_cast<std::uint32_t>(pool.size()))];
}

/// Up to `max_length` characters; runs of one character are likely.
inline std::string random_text(Random& random, std::uint32_t max_length) {
  std::string text;
  const std::uint32_t length = random.below(max_length + 1);
  char32_t character = U'a';
  for (std::uint32_t i = 0; i < length; ++i) {
    if (random.below(4) != 0) character = random_character(random);
    append_utf8(character, text);
  }
  return text;
}

}  // namespace hadal::text
