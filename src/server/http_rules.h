#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "server/http_message.h"

namespace hadal::server {

/// Sizes in bytes that a request may have.
struct HttpLimits {
  std::size_t request_line = 8 << 10;
  std::size_t header = 16 << 10;
  std::size_t headers = 64 << 10;  // all lines together
  std::size_t header_count = 100;
  std::int64_t body = std::int64_t{48} << 20;
  std::size_t chunk_extension = 256;
};

/// What is wrong with the beginning of a head whose end has not come yet: a size beyond its limit (414, 431), a line
/// feed without carriage return, bytes that begin no HTTP request (400). Looks at `text` from `checked` on for line
/// ends.
[[nodiscard]] std::optional<HttpProblem> check_partial_head(std::string_view text, std::size_t checked,
                                                            const HttpLimits& limits);

/// What is wrong with a whole head, "\r\n\r\n" included. Stricter than a parser has to be, because two programs that
/// read one request differently are how requests are smuggled: no folded lines, no space before a colon, no control
/// characters, no second Host or Content-Length, no Content-Length beside Transfer-Encoding, no transfer coding but
/// "chunked" once.
[[nodiscard]] std::optional<HttpProblem> check_head(std::string_view head, const HttpLimits& limits);

}  // namespace hadal::server
