#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace hadal::text {

/// One maximal ill-formed part of a byte string: the longest prefix of a well-formed sequence that is cut short there,
/// or a single byte that begins none (Unicode 16, section 3.9, "Substitution of Maximal Subparts"). Offsets in bytes.
struct IllFormed {
  std::int64_t offset = 0;
  std::int64_t size = 0;  // 1..3
};

/// The first ill-formed part at or after byte `from` (a character border), or nothing when the rest is well-formed.
/// Overlong forms, surrogates, values above U+10FFFF and truncated sequences are ill-formed.
[[nodiscard]] std::optional<IllFormed> find_ill_formed(std::string_view bytes, std::int64_t from = 0);

/// `bytes` with one U+FFFD in place of each maximal ill-formed part.
[[nodiscard]] std::string replace_ill_formed(std::string_view bytes);

/// Number of characters (Unicode scalar values) of a well-formed text.
[[nodiscard]] std::int64_t count_characters(std::string_view text);

/// Appends the UTF-8 form of `code_point` (a scalar value) to `out`.
void append_utf8(char32_t code_point, std::string& out);

/// The character at byte `at` of a well-formed text, and its length in bytes.
struct Decoded {
  char32_t code_point = 0;
  int size = 0;
};
[[nodiscard]] inline Decoded decode_utf8(const char* at) {
  const auto byte = [at](int i) { return static_cast<char32_t>(static_cast<unsigned char>(at[i])); };
  if (byte(0) < 0x80) return {byte(0), 1};
  if (byte(0) < 0xE0) return {(byte(0) & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (byte(0) < 0xF0) return {(byte(0) & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  return {(byte(0) & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F), 4};
}

/// Turns bytes that arrive in any cut into whole characters: the concatenated output equals replace_ill_formed of the
/// concatenated input. Holds at most 3 undecided bytes; a copy is a snapshot. No allocation of its own.
class Utf8Stream {
 public:
  /// Appends every character that is now complete, and U+FFFD for what is certainly ill-formed, to `out`. (ED followed
  /// by A0..BF, half of an encoded surrogate, waits for one more byte, as in the reference decoder.)
  void push(std::string_view bytes, std::string& out);

  /// Appends U+FFFD for the undecided bytes, by maximal ill-formed parts, and forgets them.
  void finish(std::string& out);

  [[nodiscard]] std::string_view undecided() const { return {held_.data(), held_size_}; }

 private:
  std::array<char, 4> held_{};
  std::uint8_t held_size_ = 0;
};

}  // namespace hadal::text
