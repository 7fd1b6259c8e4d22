#include "text/v4_scanner.h"

#include <algorithm>

#include "text/utf8.h"

namespace hadal::text {
namespace {

bool is_ascii_letter(char c) { return static_cast<unsigned char>((static_cast<unsigned char>(c) | 0x20) - 'a') < 26; }

// One stretch of the second split. Characters that end it are seen as the end of the text.
template <bool kHan>
class Stretch {
 public:
  Stretch(const ClassTable& classes, const char* end) : classes_(classes), end_(end) {}

  const char* piece_end(const char* begin) const {
    const Seen first = see(begin);
    const char* const after = begin + first.size;
    if (first.is(CharClass::kLetterOrMark)) return run(after, CharClass::kLetterOrMark);
    // One ASCII mark takes the ASCII letters behind it, before anything else is tried.
    if (first.is(CharClass::kPunctuationOrSymbol)) {
      if (first.size == 1 && after < end_ && is_ascii_letter(*after)) {
        return std::find_if_not(after + 1, end_, is_ascii_letter);
      }
      return marks(after);
    }
    const Seen second = see(after);
    if (!first.is(CharClass::kNewline) && second.is(CharClass::kLetterOrMark)) {
      return run(after + second.size, CharClass::kLetterOrMark);
    }
    if (*begin == ' ' && second.is(CharClass::kPunctuationOrSymbol)) return marks(after + second.size);
    if (first.is_white()) return white(begin);
    return unmatched(after);
  }

 private:
  struct Seen {
    int size = 0;  // bytes; 0 at the end of the stretch
    CharClass value = CharClass::kOther;
    [[nodiscard]] bool is(CharClass other) const { return size > 0 && value == other; }
    [[nodiscard]] bool is_white() const { return is(CharClass::kSpace) || is(CharClass::kNewline); }
  };

  Seen see(const char* at) const {
    if (at == end_) return {};
    const Decoded decoded = decode_utf8(at);
    const ClassByte byte = classes_[decoded.code_point];
    const auto value = static_cast<CharClass>(byte & ~kHanBit);
    const bool inside = kHan ? (byte & kHanBit) != 0 : byte < static_cast<ClassByte>(CharClass::kNumber);
    return inside ? Seen{decoded.size, value} : Seen{};
  }

  const char* run(const char* at, CharClass value) const {
    for (Seen seen = see(at); seen.is(value); seen = see(at)) at += seen.size;
    return at;
  }

  // [\p{P}\p{S}]+[\r\n]* behind its first mark.
  const char* marks(const char* at) const { return run(run(at, CharClass::kPunctuationOrSymbol), CharClass::kNewline); }

  // \s*[\r\n]+ | \s+(?!\S) | \s+: up to the last newline of the run; without one all of it at the end of the stretch;
  // else all but the last blank, which belongs to what follows.
  const char* white(const char* begin) const {
    const char* after_newline = nullptr;
    const char* last = begin;
    const char* at = begin;
    Seen seen = see(at);
    for (; seen.is_white(); seen = see(at)) {
      last = at;
      at += seen.size;
      if (seen.value == CharClass::kNewline) after_newline = at;
    }
    if (after_newline != nullptr) return after_newline;
    return seen.size == 0 || last == begin ? at : last;
  }

  // Characters that no alternative matches, up to the first place where one does.
  const char* unmatched(const char* at) const {
    for (Seen seen = see(at); seen.is(CharClass::kOther); seen = see(at)) {
      if (see(at + seen.size).is(CharClass::kLetterOrMark)) break;
      at += seen.size;
    }
    return at;
  }

  const ClassTable& classes_;
  const char* end_;
};

}  // namespace

const char* V4Scanner::piece_end(const char* begin, const char* end) const {
  const auto number = [this, end](const char* at) {
    if (at == end) return 0;
    const Decoded decoded = decode_utf8(at);
    return (*classes_)[decoded.code_point] == static_cast<ClassByte>(CharClass::kNumber) ? decoded.size : 0;
  };
  const Decoded first = decode_utf8(begin);
  const ClassByte byte = (*classes_)[first.code_point];
  if ((byte & kHanBit) != 0) return Stretch<true>(*classes_, end).piece_end(begin);
  if (byte != static_cast<ClassByte>(CharClass::kNumber)) return Stretch<false>(*classes_, end).piece_end(begin);
  const char* at = begin + first.size;
  at += number(at);
  // A second number may be missing; then the third look sees the same character again and adds nothing.
  return at + number(at);
}

}  // namespace hadal::text
