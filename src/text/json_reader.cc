// The reader behind parse_json and is_json. nlohmann's reader is not used here: it ends at a zero byte, skips a byte
// order mark, refuses NaN and cannot tell a lone surrogate from a syntax error, all of which change what a prompt
// shows or what a client receives as arguments.
#include <fmt/core.h>

#include <string>
#include <unordered_map>
#include <utility>

#include "text/json_text.h"
#include "text/utf8.h"

namespace hadal::text {
namespace {

/// Recursive descent; `build` false checks only. Every function returns false after setting the error.
class Reader {
 public:
  Reader(std::string_view text, const JsonLimits& limits, bool build) : text_(text), limits_(limits), build_(build) {}

  bool read(JsonValue& value) {
    if (text_.size() > limits_.bytes) {
      return refuse(ErrorCode::kResourceExhausted, fmt::format("longer than {} bytes", limits_.bytes));
    }
    if (const auto bad = find_ill_formed(text_)) {
      at_ = static_cast<std::size_t>(bad->offset);
      return refuse(ErrorCode::kInvalidArgument, "ill-formed UTF-8");
    }
    skip_space();
    if (!read_value(value, 0)) return false;
    skip_space();
    return at_ == text_.size() || refuse("text after the value");
  }

  [[nodiscard]] Error error() && { return {code_, std::move(message_)}; }

 private:
  bool refuse(ErrorCode code, std::string_view what) {
    code_ = code;
    message_ = fmt::format("JSON text, byte {}: {}", at_, what);
    return false;
  }
  bool refuse(std::string_view what) { return refuse(ErrorCode::kCorrupt, what); }

  [[nodiscard]] bool at_end() const { return at_ == text_.size(); }
  [[nodiscard]] char peek() const { return at_end() ? '\0' : text_[at_]; }
  [[nodiscard]] bool at_digit() const { return !at_end() && text_[at_] >= '0' && text_[at_] <= '9'; }

  void skip_space() {
    while (!at_end() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t')) ++at_;
  }

  bool take(std::string_view word) {
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }

  bool read_value(JsonValue& value, int depth) {
    if (at_end()) return refuse("a value is missing");
    if (++values_ > limits_.values) {
      return refuse(ErrorCode::kResourceExhausted, fmt::format("more than {} values", limits_.values));
    }
    switch (text_[at_]) {
      case '{':
        return enter(depth) && read_object(value, depth + 1);
      case '[':
        return enter(depth) && read_array(value, depth + 1);
      case '"':
        value.kind = JsonKind::kString;
        return read_string(value.text);
      default:
        return read_scalar(value);
    }
  }

  bool enter(int depth) {
    if (depth < limits_.depth) return true;
    return refuse(ErrorCode::kResourceExhausted, fmt::format("nested deeper than {} levels", limits_.depth));
  }

  bool read_scalar(JsonValue& value) {
    if (take("null")) return true;
    value.kind = JsonKind::kBool;
    if (take("false")) return true;
    value.boolean = true;
    if (take("true")) return true;
    value.boolean = false;
    value.kind = JsonKind::kNumber;
    if (limits_.non_finite) {
      for (const std::string_view word : {"NaN", "Infinity", "-Infinity"}) {
        if (!take(word)) continue;
        value.text = word;
        return true;
      }
    }
    return read_number(value.text);
  }

  bool read_number(std::string& number) {
    const std::size_t begin = at_;
    if (peek() == '-') ++at_;
    if (!at_digit()) return refuse("not a JSON value");
    if (text_[at_] == '0') {
      ++at_;
    } else {
      while (at_digit()) ++at_;
    }
    if (peek() == '.') {
      ++at_;
      if (!at_digit()) return refuse("a digit must follow the point");
      while (at_digit()) ++at_;
    }
    if (peek() == 'e' || peek() == 'E') {
      ++at_;
      if (peek() == '+' || peek() == '-') ++at_;
      if (!at_digit()) return refuse("an exponent has no digits");
      while (at_digit()) ++at_;
    }
    if (build_) number = normalise_number(text_.substr(begin, at_ - begin));
    return true;
  }

  bool read_array(JsonValue& value, int depth) {
    value.kind = JsonKind::kArray;
    ++at_;
    skip_space();
    if (peek() == ']') return ++at_, true;
    std::size_t count = 0;
    while (true) {
      JsonValue item;
      if (!read_value(item, depth)) return false;
      if (++count > limits_.items) {
        return refuse(ErrorCode::kResourceExhausted, fmt::format("an array of more than {} items", limits_.items));
      }
      if (build_) value.items.push_back(std::move(item));
      skip_space();
      if (peek() == ']') return ++at_, true;
      if (peek() != ',') return refuse("',' or ']' is missing in an array");
      ++at_;
      skip_space();
    }
  }

  bool read_object(JsonValue& value, int depth) {
    value.kind = JsonKind::kObject;
    std::unordered_map<std::string, std::size_t> places;  // key -> index of its member
    ++at_;
    skip_space();
    if (peek() == '}') return ++at_, true;
    std::size_t count = 0;
    while (true) {
      std::string key;
      if (peek() != '"') return refuse("a key is missing in an object");
      if (!read_string(key)) return false;
      if (limits_.unique_keys && places.contains(key)) return refuse("a key stands twice in an object");
      if (++count > limits_.members) {
        return refuse(ErrorCode::kResourceExhausted, fmt::format("an object of more than {} keys", limits_.members));
      }
      skip_space();
      if (peek() != ':') return refuse("':' is missing in an object");
      ++at_;
      skip_space();
      JsonValue member;
      if (!read_value(member, depth)) return false;
      if (build_) {
        const auto [place, fresh] = places.try_emplace(key, value.members.size());
        if (fresh) {
          value.members.push_back({std::move(key), std::move(member)});
        } else {
          value.members[place->second].value = std::move(member);
        }
      }
      skip_space();
      if (peek() == '}') return ++at_, true;
      if (peek() != ',') return refuse("',' or '}' is missing in an object");
      ++at_;
      skip_space();
    }
  }

  bool read_string(std::string& out) {
    ++at_;
    while (true) {
      if (at_end()) return refuse("a string does not end");
      const auto byte = static_cast<unsigned char>(text_[at_]);
      if (byte == '"') return ++at_, true;
      if (byte < 0x20) return refuse("a control character stands unescaped in a string");
      if (byte == '\\') {
        if (!read_escape(out)) return false;
        continue;
      }
      if (build_) out += text_[at_];
      ++at_;
    }
  }

  bool read_escape(std::string& out) {
    constexpr std::string_view kLetters = "\"\\/bfnrt";
    constexpr std::string_view kMeanings = "\"\\/\b\f\n\r\t";
    ++at_;
    if (at_end()) return refuse("a string does not end");
    if (const std::size_t letter = kLetters.find(text_[at_]); letter != std::string_view::npos) {
      ++at_;
      if (build_) out += kMeanings[letter];
      return true;
    }
    std::uint32_t code_point = 0;
    if (!read_hex(code_point)) return false;
    if (code_point >= 0xD800 && code_point < 0xDC00 && text_.substr(at_).starts_with("\\u")) {
      std::uint32_t low = 0;
      ++at_;
      if (!read_hex(low)) return false;
      if (low < 0xDC00 || low > 0xDFFF) return refuse(ErrorCode::kInvalidArgument, "a lone surrogate escape");
      code_point = 0x10000 + ((code_point - 0xD800) << 10) + (low - 0xDC00);
    }
    if (code_point >= 0xD800 && code_point < 0xE000) {
      return refuse(ErrorCode::kInvalidArgument, "a lone surrogate escape");
    }
    if (build_) append_utf8(static_cast<char32_t>(code_point), out);
    return true;
  }

  /// Reads `u` and four hexadecimal digits.
  bool read_hex(std::uint32_t& value) {
    if (peek() != 'u') return refuse("an unknown escape in a string");
    ++at_;
    for (int digit = 0; digit < 4; ++digit, ++at_) {
      const char c = peek();
      const std::uint32_t low = static_cast<std::uint32_t>(static_cast<unsigned char>(c));
      if (c >= '0' && c <= '9') {
        value = value * 16 + (low - '0');
      } else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')) {
        value = value * 16 + ((low | 0x20) - 'a' + 10);
      } else {
        return refuse("four hexadecimal digits must follow \\u");
      }
    }
    return true;
  }

  std::string_view text_;
  const JsonLimits& limits_;
  bool build_;
  std::size_t at_ = 0;
  std::size_t values_ = 0;
  ErrorCode code_ = ErrorCode::kCorrupt;
  std::string message_;
};

}  // namespace

Result<JsonValue> parse_json(std::string_view text, const JsonLimits& limits) {
  JsonValue value;
  Reader reader(text, limits, true);
  if (!reader.read(value)) return tl::unexpected<Error>(std::move(reader).error());
  return value;
}

bool is_json(std::string_view text, int depth) {
  JsonValue ignored;
  JsonLimits limits;
  limits.bytes = text.size();
  limits.depth = depth;
  return Reader(text, limits, false).read(ignored);
}

}  // namespace hadal::text
