#include "server/http_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "server/http_text.h"

namespace hadal::server {
namespace {

bool is_token_character(char c) {
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) return true;
  return c != '\0' && std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_token_character);
}

bool is_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

HttpProblem bad(std::string message) { return {400, std::move(message)}; }

/// Takes a line off the front of `rest`; its end is known to be there.
std::string_view take_line(std::string_view& rest) {
  const std::size_t end = rest.find("\r\n");
  const std::string_view line = rest.substr(0, end);
  rest.remove_prefix(end + 2);
  return line;
}

std::optional<HttpProblem> check_request_line(std::string_view line, std::string_view& version) {
  const std::size_t first = line.find(' ');
  const std::size_t second = first == std::string_view::npos ? first : line.find(' ', first + 1);
  if (second == std::string_view::npos || line.find(' ', second + 1) != std::string_view::npos) {
    return bad("the request line is not: method, space, target, space, version");
  }
  const std::string_view target = line.substr(first + 1, second - first - 1);
  version = line.substr(second + 1);
  if (!is_token(line.substr(0, first))) return bad("the method is not a token");
  const bool visible = std::all_of(target.begin(), target.end(), [](char c) { return c > ' ' && c < '\x7f'; });
  if (target.empty() || !visible) return bad("the request target holds characters that must be escaped");
  if (version != "HTTP/1.1" && version != "HTTP/1.0") {
    if (version.starts_with("HTTP/")) return HttpProblem{505, "only HTTP/1.1 and HTTP/1.0 are spoken here"};
    return bad("the request line does not end with a version of HTTP");
  }
  return std::nullopt;
}

/// What the fields of one head add up to.
struct Framing {
  int hosts = 0;
  int transfer_encodings = 0;
  std::optional<std::string> content_length{};
};

std::optional<HttpProblem> check_field(std::string_view line, const HttpLimits& limits, Framing& framing) {
  if (line.size() > limits.header) {
    return HttpProblem{431, fmt::format("a header is longer than {} bytes", limits.header)};
  }
  if (line.front() == ' ' || line.front() == '\t') return bad("a header continues on a second line");
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) return bad("a header's name is not a token");
  const std::string_view value = trim(line.substr(colon + 1));
  const bool control = std::any_of(value.begin(), value.end(), [](char c) {
    return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == '\x7f';
  });
  if (control) return bad("a header's value holds a control character");
  const std::string name = lower(line.substr(0, colon));
  if (name == "host") ++framing.hosts;
  if (name == "transfer-encoding") {
    ++framing.transfer_encodings;
    if (lower(value) != "chunked") return bad("the only transfer coding is chunked");
  }
  if (name == "content-length") {
    if (!is_digits(value) || value.size() > 18) return bad("Content-Length is not a number of bytes");
    if (framing.content_length) return bad("there are two Content-Length headers");
    framing.content_length = value;
  }
  return std::nullopt;
}

}  // namespace

std::optional<HttpProblem> check_partial_head(std::string_view text, std::size_t checked, const HttpLimits& limits) {
  if (!text.empty() && !is_token_character(text.front())) return bad("this is no HTTP request");
  for (std::size_t at = text.find('\n', checked); at != std::string_view::npos; at = text.find('\n', at + 1)) {
    if (at == 0 || text[at - 1] != '\r') return bad("a line ends without a carriage return");
  }
  // Of a line that has not ended the last byte may be its carriage return.
  const std::size_t unfinished = text.size() - (text.ends_with('\r') ? 1 : 0);
  const std::size_t line = std::min(text.find("\r\n"), unfinished);
  if (line > limits.request_line) {
    return HttpProblem{414, fmt::format("the request line is longer than {} bytes", limits.request_line)};
  }
  if (text.size() > line + 2 + limits.headers) {
    return HttpProblem{431, fmt::format("the headers are longer than {} bytes", limits.headers)};
  }
  return std::nullopt;
}

std::optional<HttpProblem> check_head(std::string_view head, const HttpLimits& limits) {
  if (auto problem = check_partial_head(head, 0, limits)) return problem;
  std::string_view rest = head;
  std::string_view version;
  if (auto problem = check_request_line(take_line(rest), version)) return problem;
  Framing framing;
  for (std::size_t count = 0; rest != "\r\n"; ++count) {
    if (count == limits.header_count) {
      return HttpProblem{431, fmt::format("there are more than {} headers", limits.header_count)};
    }
    if (auto problem = check_field(take_line(rest), limits, framing)) return problem;
  }
  if (framing.hosts > 1 || (framing.hosts == 0 && version == "HTTP/1.1")) return bad("there must be one Host header");
  if (framing.transfer_encodings > 1) return bad("there are two Transfer-Encoding headers");
  if (framing.transfer_encodings > 0 && framing.content_length) {
    return bad("Content-Length and Transfer-Encoding exclude each other");
  }
  if (framing.transfer_encodings > 0 && version == "HTTP/1.0") return bad("HTTP/1.0 has no Transfer-Encoding");
  return std::nullopt;
}

}  // namespace hadal::server
