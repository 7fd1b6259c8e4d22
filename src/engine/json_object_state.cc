#include "engine/json_object_state.h"

#include <algorithm>
#include <string_view>

namespace hadal::engine {
namespace {

bool is_digit(std::uint8_t byte) { return byte >= '0' && byte <= '9'; }

/// Value of a hexadecimal digit; -1: none.
int hex_value(std::uint8_t byte) {
  if (is_digit(byte)) return byte - '0';
  if (byte >= 'a' && byte <= 'f') return byte - 'a' + 10;
  if (byte >= 'A' && byte <= 'F') return byte - 'A' + 10;
  return -1;
}

constexpr std::uint8_t kOneSpace = 1;
constexpr std::uint8_t kLineEnd = 2;

}  // namespace

bool JsonObjectState::advance(std::uint8_t byte) {
  switch (mode_) {
    case Mode::kString:
      return string(byte);
    case Mode::kUtf8:
      return utf8(byte);
    case Mode::kEscape:
      if (byte == 'u') {
        code_ = 0;
        count_ = 0;
        pair_ = false;
        return enter(Mode::kHex);
      }
      return std::string_view("\"\\/bfnrt").find(static_cast<char>(byte)) != std::string_view::npos &&
             enter(Mode::kString);
    case Mode::kHex:
      return hex(byte);
    case Mode::kLowBackslash:
      return byte == '\\' && enter(Mode::kLowU);
    case Mode::kLowU:
      code_ = 0;
      count_ = 0;
      pair_ = true;
      return byte == 'u' && enter(Mode::kHex);
    case Mode::kMinus:
    case Mode::kZero:
    case Mode::kInteger:
    case Mode::kDot:
    case Mode::kFraction:
    case Mode::kExponent:
    case Mode::kExponentSign:
    case Mode::kExponentDigits:
      return number(byte);
    case Mode::kLiteral:
      return literal(byte);
    case Mode::kEnd:
      return false;
    default:
      if (white_space(byte)) return true;
      spaces_ = 0;
      return structure(byte);
  }
}

bool JsonObjectState::white_space(std::uint8_t byte) {
  if (mode_ == Mode::kRoot) return false;
  if (spaces_ == 0 && byte == ' ') {
    spaces_ = kOneSpace;
    return true;
  }
  if (spaces_ == 0 && byte == '\n') {
    spaces_ = kLineEnd;
    return true;
  }
  const int indentation = std::min(4 * depth_, 128);
  if (spaces_ >= kLineEnd && byte == ' ' && spaces_ - kLineEnd < indentation) {
    ++spaces_;
    return true;
  }
  return false;
}

bool JsonObjectState::structure(std::uint8_t byte) {
  switch (mode_) {
    case Mode::kRoot:
      return byte == '{' && push(false);
    case Mode::kFirstKey:
      if (byte == '}') return pop(false);
      [[fallthrough]];
    case Mode::kNextKey:
      key_ = true;
      return byte == '"' && enter(Mode::kString);
    case Mode::kColon:
      return byte == ':' && enter(Mode::kValue);
    case Mode::kFirstValue:
      if (byte == ']') return pop(true);
      [[fallthrough]];
    case Mode::kValue:
      return begin_value(byte);
    default:  // behind a value
      if (byte == ',') return enter(inside_array() ? Mode::kValue : Mode::kNextKey);
      return (byte == '}' && pop(false)) || (byte == ']' && pop(true));
  }
}

bool JsonObjectState::push(bool array) {
  if (depth_ == kMostDepth) return false;
  const std::uint64_t bit = std::uint64_t{1} << depth_;
  arrays_ = array ? arrays_ | bit : arrays_ & ~bit;
  ++depth_;
  return enter(array ? Mode::kFirstValue : Mode::kFirstKey);
}

bool JsonObjectState::pop(bool array) {
  if (inside_array() != array) return false;
  --depth_;
  arrays_ &= ~(std::uint64_t{1} << depth_);
  end_value();
  if (depth_ == 0) mode_ = Mode::kEnd;
  return true;
}

bool JsonObjectState::begin_value(std::uint8_t byte) {
  count_ = 1;
  switch (byte) {
    case '{':
      return push(false);
    case '[':
      return push(true);
    case '"':
      key_ = false;
      return enter(Mode::kString);
    case 't':
    case 'f':
    case 'n':
      literal_ = byte;
      return enter(Mode::kLiteral);
    case '-':
      return enter(Mode::kMinus);
    case '0':
      return enter(Mode::kZero);
    default:
      return is_digit(byte) && enter(Mode::kInteger);
  }
}

bool JsonObjectState::string(std::uint8_t byte) {
  if (byte == '"') {
    if (key_) return enter(Mode::kColon);
    end_value();
    return true;
  }
  if (byte == '\\') return enter(Mode::kEscape);
  if (byte < 0x80) return byte >= 0x20;
  return begin_utf8(byte);
}

bool JsonObjectState::begin_utf8(std::uint8_t byte) {
  // Table 3-7 of the Unicode Standard: the second byte's range shuts out long forms, surrogates and beyond U+10FFFF.
  if (byte < 0xC2 || byte > 0xF4) return false;
  count_ = byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : 3;
  low_ = byte == 0xE0 ? 0xA0 : byte == 0xF0 ? 0x90 : 0x80;
  high_ = byte == 0xED ? 0x9F : byte == 0xF4 ? 0x8F : 0xBF;
  return enter(Mode::kUtf8);
}

bool JsonObjectState::utf8(std::uint8_t byte) {
  if (byte < low_ || byte > high_) return false;
  low_ = 0x80;
  high_ = 0xBF;
  if (--count_ == 0) {
    low_ = high_ = 0;
    mode_ = Mode::kString;
  }
  return true;
}

bool JsonObjectState::hex(std::uint8_t byte) {
  const int digit = hex_value(byte);
  if (digit < 0) return false;
  code_ = static_cast<std::uint16_t>(code_ << 4 | digit);
  ++count_;
  // A high surrogate must have a low one behind it, and a low one stands nowhere else; seen as early as it shows.
  if (pair_ && ((count_ == 1 && code_ != 0xD) || (count_ == 2 && code_ < 0xDC))) return false;
  if (!pair_ && count_ == 2 && code_ >= 0xDC && code_ <= 0xDF) return false;
  if (count_ < 4) return true;
  const bool high = !pair_ && code_ >= 0xD800 && code_ <= 0xDBFF;
  code_ = 0;
  count_ = 0;
  pair_ = false;
  return enter(high ? Mode::kLowBackslash : Mode::kString);
}

bool JsonObjectState::number(std::uint8_t byte) {
  const bool digit = is_digit(byte);
  const bool room = count_ < kMostNumberCharacters;
  switch (mode_) {
    case Mode::kMinus:
      ++count_;
      return digit && enter(byte == '0' ? Mode::kZero : Mode::kInteger);
    case Mode::kDot:
      ++count_;
      return digit && enter(Mode::kFraction);
    case Mode::kExponent:
      if (byte == '+' || byte == '-') return enter(Mode::kExponentSign);
      [[fallthrough]];
    case Mode::kExponentSign:
      count_ = 1;
      return digit && enter(Mode::kExponentDigits);
    case Mode::kExponentDigits:
      if (digit) return count_++ < 2;
      break;
    default:  // behind a digit of the integer or the fraction
      if (digit && mode_ != Mode::kZero) {
        ++count_;
        return room;
      }
      if (byte == '.' && mode_ != Mode::kFraction) {
        ++count_;
        return room && enter(Mode::kDot);
      }
      if (byte == 'e' || byte == 'E') return enter(Mode::kExponent);
  }
  end_value();
  return advance(byte);
}

bool JsonObjectState::literal(std::uint8_t byte) {
  const std::string_view word = literal_ == 't' ? "true" : literal_ == 'f' ? "false" : "null";
  if (byte != static_cast<std::uint8_t>(word[count_])) return false;
  if (++count_ == word.size()) {
    literal_ = 0;
    end_value();
  }
  return true;
}

}  // namespace hadal::engine
