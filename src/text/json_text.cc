#include "text/json_text.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

namespace hadal::text {

JsonValue JsonValue::of(bool value) {
  JsonValue result;
  result.kind = JsonKind::kBool;
  result.boolean = value;
  return result;
}

JsonValue JsonValue::of(std::int64_t value) {
  JsonValue result;
  result.kind = JsonKind::kNumber;
  result.text = fmt::format("{}", value);
  return result;
}

JsonValue JsonValue::of(std::string value) {
  JsonValue result;
  result.kind = JsonKind::kString;
  result.text = std::move(value);
  return result;
}

JsonValue JsonValue::array() {
  JsonValue result;
  result.kind = JsonKind::kArray;
  return result;
}

JsonValue JsonValue::object() {
  JsonValue result;
  result.kind = JsonKind::kObject;
  return result;
}

const JsonValue* JsonValue::find(std::string_view key) const {
  const auto found = std::ranges::find(members, key, &JsonMember::key);
  return found == members.end() ? nullptr : &found->value;
}

JsonValue& JsonValue::add(std::string key, JsonValue value) {
  members.push_back({std::move(key), std::move(value)});
  return *this;
}

namespace {

/// Decimal exponent of the first non-zero digit of a JSON number, saturated; only its sign is used.
std::int64_t decimal_exponent(std::string_view number) {
  constexpr std::int64_t kFar = 1'000'000'000;
  std::int64_t exponent = 0;
  std::int64_t position = -1;  // exponent of the digit to come, relative to the point
  bool after_point = false;
  bool found = false;
  std::size_t i = number.starts_with('-') ? 1 : 0;
  for (; i < number.size() && number[i] != 'e' && number[i] != 'E'; ++i) {
    if (number[i] == '.') {
      after_point = true;
      continue;
    }
    found = found || number[i] != '0';
    if (!after_point && found) ++position;
    if (after_point) {
      if (found) break;
      --position;
    }
  }
  i = number.find_first_of("eE", i);
  if (i != std::string_view::npos) {
    const bool negative = number[i + 1] == '-';
    for (++i; i < number.size(); ++i) {
      if (number[i] < '0' || number[i] > '9') continue;
      exponent = std::min(kFar, exponent * 10 + (number[i] - '0'));
    }
    if (negative) exponent = -exponent;
  }
  return position + exponent;
}

double to_double(std::string_view number) {
  double value = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (error != std::errc::result_out_of_range) return value;
  // from_chars does not say which end of the range was passed.
  const double magnitude = decimal_exponent(number) >= 0 ? std::numeric_limits<double>::infinity() : 0.0;
  return number.starts_with('-') ? -magnitude : magnitude;
}

std::string python_repr(double value) {
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  std::array<char, 40> buffer{};
  const auto written =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::scientific);
  const std::string_view text(buffer.data(), static_cast<std::size_t>(written.ptr - buffer.data()));
  const bool negative = text.starts_with('-');
  const std::size_t mark = text.find('e');
  std::string digits;
  for (const char c : text.substr(0, mark)) {
    if (c >= '0' && c <= '9') digits += c;
  }
  int exponent = 0;
  const char* exponent_begin = text.data() + mark + (text[mark + 1] == '+' ? 2 : 1);
  std::from_chars(exponent_begin, text.data() + text.size(), exponent);
  std::string result = negative ? "-" : "";
  if (exponent < -4 || exponent >= 16) {
    result += digits[0];
    if (digits.size() > 1) result.append(".").append(digits, 1);
    return result + fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) return result + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  const std::size_t whole = static_cast<std::size_t>(exponent) + 1;
  if (digits.size() <= whole) return result + digits + std::string(whole - digits.size(), '0') + ".0";
  return result + digits.substr(0, whole) + "." + digits.substr(whole);
}

}  // namespace

std::string normalise_number(std::string_view number) {
  if (number.find_first_of(".eE") == std::string_view::npos) return number == "-0" ? "0" : std::string(number);
  return python_repr(to_double(number));
}

JsonValue JsonValue::of(double value) {
  JsonValue result;
  result.kind = JsonKind::kNumber;
  result.text = python_repr(value);
  return result;
}

void append_json_escaped(std::string& out, std::string_view characters) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::size_t plain = 0;
  for (std::size_t i = 0; i < characters.size(); ++i) {
    const auto byte = static_cast<unsigned char>(characters[i]);
    if (byte >= 0x20 && byte != '"' && byte != '\\') continue;
    out.append(characters.substr(plain, i - plain));
    plain = i + 1;
    out += '\\';
    switch (byte) {
      case '"':
      case '\\':
        out += static_cast<char>(byte);
        break;
      case '\b':
        out += 'b';
        break;
      case '\f':
        out += 'f';
        break;
      case '\n':
        out += 'n';
        break;
      case '\r':
        out += 'r';
        break;
      case '\t':
        out += 't';
        break;
      default:
        out.append("u00");
        out += kHex[byte >> 4];
        out += kHex[byte & 15];
    }
  }
  out.append(characters.substr(plain));
}

void append_json_string(std::string& out, std::string_view characters) {
  out += '"';
  append_json_escaped(out, characters);
  out += '"';
}

namespace {

struct Separators {
  std::string_view comma;
  std::string_view colon;
};

void append_value(std::string& out, const JsonValue& value, const Separators& between) {
  switch (value.kind) {
    case JsonKind::kNull:
      out += "null";
      return;
    case JsonKind::kBool:
      out += value.boolean ? "true" : "false";
      return;
    case JsonKind::kNumber:
      out += value.text;
      return;
    case JsonKind::kString:
      append_json_string(out, value.text);
      return;
    case JsonKind::kArray: {
      out += '[';
      std::string_view separator;
      for (const JsonValue& item : value.items) {
        out += separator;
        append_value(out, item, between);
        separator = between.comma;
      }
      out += ']';
      return;
    }
    case JsonKind::kObject: {
      out += '{';
      std::string_view separator;
      for (const JsonMember& member : value.members) {
        out += separator;
        append_json_string(out, member.key);
        out += between.colon;
        append_value(out, member.value, between);
        separator = between.comma;
      }
      out += '}';
      return;
    }
  }
}

}  // namespace

void append_json(std::string& out, const JsonValue& value) { append_value(out, value, {", ", ": "}); }

void append_compact_json(std::string& out, const JsonValue& value) { append_value(out, value, {",", ":"}); }

std::string to_json(const JsonValue& value) {
  std::string out;
  append_json(out, value);
  return out;
}

}  // namespace hadal::text
