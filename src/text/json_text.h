#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hadal::text {

enum class JsonKind : std::uint8_t { kNull, kBool, kNumber, kString, kArray, kObject };

struct JsonMember;

/// A JSON value as a prompt shows it: members in the order of their first appearance, numbers as text.
struct JsonValue {
  JsonKind kind = JsonKind::kNull;
  bool boolean = false;
  std::string text;                 // kString: its characters; kNumber: the spelling that append_json writes
  std::vector<JsonValue> items;     // kArray
  std::vector<JsonMember> members;  // kObject

  [[nodiscard]] static JsonValue of(bool value);
  [[nodiscard]] static JsonValue of(std::int64_t value);
  [[nodiscard]] static JsonValue of(std::string value);
  /// A finite number, spelled as the shortest text that reads back as the same double, with a point or an exponent.
  [[nodiscard]] static JsonValue of(double value);
  [[nodiscard]] static JsonValue array();
  [[nodiscard]] static JsonValue object();

  /// The member's value, or null when this is no object or has no such key.
  [[nodiscard]] const JsonValue* find(std::string_view key) const;
  /// Appends a member to an object without looking for the key; returns *this, for chains.
  JsonValue& add(std::string key, JsonValue value);
  [[nodiscard]] bool is(JsonKind expected) const { return kind == expected; }
};

struct JsonMember {
  std::string key;
  JsonValue value;
};

/// What a reader of untrusted JSON accepts.
struct JsonLimits {
  std::size_t bytes = std::size_t{64} << 20;   // of the text
  std::size_t values = std::size_t{1} << 20;   // values in the tree, about 100 bytes each
  std::size_t members = std::size_t{1} << 20;  // of one object
  std::size_t items = std::size_t{1} << 20;    // of one array
  int depth = 256;                             // nested arrays and objects
  bool unique_keys = false;                    // a double key is an error instead of a replacement
  bool non_finite = false;                     // accept NaN, Infinity, -Infinity as Python's reader does
};

/// Reads one JSON text (RFC 8259). Of double keys the first place and the last value remain; integers keep every
/// digit (-0 becomes 0); other numbers become the shortest text that reads back as the same double.
/// Errors: kCorrupt (not JSON; the byte offset is named), kInvalidArgument (a lone surrogate escape, ill-formed UTF-8),
/// kResourceExhausted (a limit). With unique_keys a double key is kCorrupt.
[[nodiscard]] Result<JsonValue> parse_json(std::string_view text, const JsonLimits& limits = {});

/// Whether parse_json(text) would succeed with at most `depth` nested containers. Builds nothing.
[[nodiscard]] bool is_json(std::string_view text, int depth = JsonLimits{}.depth);

/// Appends the characters as they stand inside a JSON string: only quote, backslash and U+0000..U+001F are escaped.
void append_json_escaped(std::string& out, std::string_view characters);

/// Appends a whole JSON string, with its quotes.
void append_json_string(std::string& out, std::string_view characters);

/// Appends the value with the habits of Python's json.dumps(value, ensure_ascii=False), which the official prompts
/// are made with: separators ", " and ": ", all non-ASCII raw.
void append_json(std::string& out, const JsonValue& value);
[[nodiscard]] std::string to_json(const JsonValue& value);

/// Appends the value without spaces, as answers of the API write it.
void append_compact_json(std::string& out, const JsonValue& value);

/// Spelling of a JSON number: digits of an integer unchanged, other numbers as Python's repr of the nearest double.
/// `number` must be a JSON number.
[[nodiscard]] std::string normalise_number(std::string_view number);

}  // namespace hadal::text
