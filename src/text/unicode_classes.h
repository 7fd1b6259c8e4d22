#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace hadal::text {

/// What the pre-tokenizer needs to know of a character (Unicode 16). The values are disjoint.
enum class CharClass : std::uint8_t {
  kOther,                // unassigned, control, format, private use
  kLetterOrMark,         // \p{L} \p{M}
  kPunctuationOrSymbol,  // \p{P} \p{S}
  kSpace,                // White_Space without the next
  kNewline,              // U+000A, U+000D
  kNumber,               // \p{N}
};

/// Class in the low bits, and kHanBit for the characters of V4's second split (CJK ideographs U+4E00-9FA5, kana).
using ClassByte = std::uint8_t;
inline constexpr ClassByte kHanBit = 0x80;

/// Class bytes of all code points, in blocks of 128 of which equal ones are stored once (about 40 KiB).
class ClassTable {
 public:
  [[nodiscard]] static const ClassTable& get();

  /// `code_point` <= U+10FFFF.
  [[nodiscard]] ClassByte operator[](char32_t code_point) const {
    return blocks_[std::size_t{index_[code_point / kBlock]} * kBlock + code_point % kBlock];
  }

 private:
  static constexpr std::size_t kBlock = 128;
  ClassTable();
  std::array<std::uint16_t, 0x110000 / kBlock> index_{};
  std::vector<ClassByte> blocks_;
};

}  // namespace hadal::text
