#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/error.h"
#include "text/json_text.h"

namespace hadal::api {

/// The first error of a request's fields. Readers go on with defaults after it, so that they need no branches.
class FirstError {
 public:
  /// `cause` with the message `path: sentence` and the path as param, unless there is an error already.
  void note(Cause cause, std::string_view path, std::string_view sentence);
  /// A message that does not begin with the path.
  void note_whole(Cause cause, std::string_view path, std::string message);
  [[nodiscard]] bool any() const { return error_.has_value(); }
  [[nodiscard]] tl::unexpected<ApiError> take() { return tl::unexpected<ApiError>(std::move(*error_)); }

 private:
  std::optional<ApiError> error_;
};

/// Typed members of one object. Null counts as absent; nothing is coerced. A wrong type or range is noted in `error`
/// and reads as absent. Remembers which members were asked for.
class Fields {
 public:
  /// `path` names the object in messages; "" for the body. `object` must be an object and outlive this.
  Fields(const text::JsonValue& object, std::string path, FirstError& error)
      : object_(object), path_(std::move(path)), error_(error) {}

  [[nodiscard]] const text::JsonValue* get(std::string_view key);
  [[nodiscard]] bool has(std::string_view key) { return get(key) != nullptr; }
  [[nodiscard]] const text::JsonValue* get(std::string_view key, text::JsonKind kind);
  [[nodiscard]] const text::JsonValue* object(std::string_view key) { return get(key, text::JsonKind::kObject); }
  [[nodiscard]] const text::JsonValue* array(std::string_view key) { return get(key, text::JsonKind::kArray); }
  [[nodiscard]] std::optional<std::string> string(std::string_view key);
  [[nodiscard]] std::optional<bool> flag(std::string_view key);
  [[nodiscard]] std::optional<std::int64_t> integer(std::string_view key, std::int64_t least, std::int64_t most);
  [[nodiscard]] std::optional<double> number(std::string_view key, double least, double most);

  /// Takes a member that has no effect here; listed when present.
  void ignore(std::string_view key);
  /// Makes a member an error when present.
  void forbid(std::string_view key, std::string_view sentence);

  [[nodiscard]] std::string path(std::string_view key) const;
  /// Members that nobody asked for, and those ignored, in the order of the body.
  [[nodiscard]] std::vector<std::string> ignored() const;
  /// The first member that nobody asked for.
  [[nodiscard]] std::optional<std::string> unknown() const;
  [[nodiscard]] FirstError& error() { return error_; }

 private:
  const text::JsonValue& object_;
  std::string path_;
  FirstError& error_;
  std::vector<std::string_view> known_;
  std::vector<std::string_view> ignored_;
};

/// Value of a JSON integer without point and exponent that fits; nothing else is one.
[[nodiscard]] std::optional<std::int64_t> to_integer(const text::JsonValue& value);
/// Value of a finite JSON number.
[[nodiscard]] std::optional<double> to_number(const text::JsonValue& value);

/// Names for the header `x-hadal-ignored`: the first 16, separated by ", "; names with other characters than
/// [A-Za-z0-9_.-] are shown as "?".
[[nodiscard]] std::string ignored_header(const std::vector<std::string>& names);

}  // namespace hadal::api
