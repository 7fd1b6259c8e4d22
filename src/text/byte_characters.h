#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "text/utf8.h"

namespace hadal::text {

/// GPT-2's table between bytes and printable characters, in which a tokenizer.json spells its tokens: 0x21-0x7E,
/// 0xA1-0xAC, 0xAE-0xFF stand for themselves, the other 68 bytes, ascending, for U+0100, U+0101, ...
class ByteCharacters {
 public:
  static constexpr char32_t kEnd = 0x100 + 68;  // all characters of the table lie below

  constexpr ByteCharacters() {
    characters_.fill(-1);
    std::int16_t next = 0x100;
    for (std::int16_t byte = 0; byte < 256; ++byte) {
      const bool itself = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
      const std::int16_t character = itself ? byte : next++;
      characters_[static_cast<std::size_t>(character)] = byte;
      of_byte_[static_cast<std::size_t>(byte)] = static_cast<char16_t>(character);
    }
    std::size_t place = 0;
    for (const std::int16_t byte : characters_) {
      if (byte >= 0) order_[place++] = static_cast<unsigned char>(byte);
    }
  }

  /// All bytes by ascending character: the order of their ids in V4 and its relatives.
  [[nodiscard]] constexpr const std::array<unsigned char, 256>& order() const { return order_; }

  /// The inverse of bytes(): the characters that stand for `bytes`.
  [[nodiscard]] std::string spell(std::string_view bytes) const {
    std::string out;
    for (const char byte : bytes) append_utf8(of_byte_[static_cast<unsigned char>(byte)], out);
    return out;
  }

  /// The bytes that `token` (well-formed UTF-8) spells; nothing if one of its characters is not in the table.
  [[nodiscard]] std::optional<std::string> bytes(std::string_view token) const {
    std::string out;
    for (std::size_t at = 0; at < token.size();) {
      const Decoded decoded = decode_utf8(token.data() + at);
      if (decoded.code_point >= kEnd || characters_[decoded.code_point] < 0) return std::nullopt;
      out.push_back(static_cast<char>(characters_[decoded.code_point]));
      at += static_cast<std::size_t>(decoded.size);
    }
    return out;
  }

 private:
  std::array<std::int16_t, kEnd> characters_{};  // the byte of a character, or -1
  std::array<char16_t, 256> of_byte_{};
  std::array<unsigned char, 256> order_{};
};

}  // namespace hadal::text
