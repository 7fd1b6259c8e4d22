#pragma once

#include <cstdint>

namespace hadal::engine {

/// How far a text that is to be one JSON object (RFC 8259) has come, byte by byte. Stricter than the RFC where endless
/// or unreadable texts would be allowed: between two tokens at most one space, or one line end and its indentation; no
/// white space around the whole; UTF-8 well-formed; surrogate escapes in pairs; numbers of at most 40 characters with
/// exponents of two digits; 64 levels. Every state has a way to the end.
class JsonObjectState {
 public:
  static constexpr int kMostDepth = 64;
  static constexpr int kMostNumberCharacters = 40;

  /// Takes the next byte. False: it cannot stand here; the state is of no use then.
  [[nodiscard]] bool advance(std::uint8_t byte);
  /// The object is closed: nothing may follow.
  [[nodiscard]] bool complete() const { return mode_ == Mode::kEnd; }

  [[nodiscard]] friend bool operator==(const JsonObjectState&, const JsonObjectState&) = default;

 private:
  enum class Mode : std::uint8_t {
    kRoot,        // the opening brace
    kFirstKey,    // a key or the end of the object
    kNextKey,     // a key
    kColon,       // behind a key
    kValue,       // a value
    kFirstValue,  // a value or the end of the array
    kAfter,       // behind a value: a comma or the end
    kString,
    kUtf8,    // bytes of a character that has begun
    kEscape,  // behind a backslash
    kHex,     // digits of \uXXXX
    kLowBackslash,
    kLowU,
    kMinus,
    kZero,
    kInteger,
    kDot,
    kFraction,
    kExponent,
    kExponentSign,
    kExponentDigits,
    kLiteral,
    kEnd,
  };

  [[nodiscard]] bool white_space(std::uint8_t byte);
  [[nodiscard]] bool structure(std::uint8_t byte);
  [[nodiscard]] bool begin_value(std::uint8_t byte);
  [[nodiscard]] bool string(std::uint8_t byte);
  [[nodiscard]] bool utf8(std::uint8_t byte);
  [[nodiscard]] bool begin_utf8(std::uint8_t byte);
  [[nodiscard]] bool hex(std::uint8_t byte);
  [[nodiscard]] bool number(std::uint8_t byte);
  [[nodiscard]] bool literal(std::uint8_t byte);
  [[nodiscard]] bool push(bool array);
  [[nodiscard]] bool pop(bool array);
  bool enter(Mode mode) {
    mode_ = mode;
    return true;
  }
  void end_value() {
    mode_ = Mode::kAfter;
    count_ = 0;
  }
  [[nodiscard]] bool inside_array() const { return depth_ > 0 && (arrays_ >> (depth_ - 1) & 1) != 0; }

  std::uint64_t arrays_ = 0;  // bit d: level d is an array
  std::uint16_t code_ = 0;    // digits of an escape so far
  Mode mode_ = Mode::kRoot;
  std::uint8_t depth_ = 0;
  std::uint8_t spaces_ = 0;          // white space taken here: 0 none, 1 one space, 2 + n a line end and n spaces
  std::uint8_t count_ = 0;           // digits of an escape, bytes of a character to come, place in a number or literal
  std::uint8_t low_ = 0, high_ = 0;  // range of the next byte of a character
  std::uint8_t literal_ = 0;         // its first letter
  bool key_ = false;                 // the string is a key
  bool pair_ = false;                // the escape is the second one of a pair
};

}  // namespace hadal::engine
