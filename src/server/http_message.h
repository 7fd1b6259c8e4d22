#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hadal::server {

/// One field of a head. Names of requests are lower case.
struct Header {
  std::string name;
  std::string value;
};

/// Value of the first field of that (lower-case) name.
[[nodiscard]] std::optional<std::string_view> find_header(const std::vector<Header>& headers, std::string_view name);

/// Everything of a request before its body, checked against the rules of HTTP.
struct RequestHead {
  std::string method;
  std::string path;     // decoded; without repeated and trailing slashes; "/" for the root
  std::string query{};  // after '?', as it came
  int minor_version = 1;
  bool keep_alive = true;
  bool chunked = false;
  bool expects_continue = false;
  std::optional<std::int64_t> content_length{};
  std::vector<Header> headers{};

  [[nodiscard]] bool has_body() const { return chunked || content_length.value_or(0) > 0; }
};

/// A whole answer, or the head of a stream (then `body` is empty).
struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body{};
  std::vector<Header> headers{};
  bool close = false;  // the connection ends behind it
};

/// A request that breaks the rules or a limit: what to answer, in words for people.
struct HttpProblem {
  int status = 400;
  std::string message;
};

/// "Not Found" for 404; "Unknown" for a status that nobody sends.
[[nodiscard]] std::string_view reason_phrase(int status);

/// The path of a request target: percent-escapes decoded once, repeated and trailing slashes dropped. None: it is
/// empty, does not begin with '/', or holds a broken escape, %00, %2f or a `..` segment.
[[nodiscard]] std::optional<std::string> plain_path(std::string_view target);

/// A client's own id, when it has at most `limit` characters and all are visible ASCII. So an echo cannot carry
/// a line break into our head.
[[nodiscard]] std::optional<std::string> visible_ascii(std::string_view text, std::size_t limit);

}  // namespace hadal::server
