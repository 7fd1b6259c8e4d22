#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "server/http_message.h"
#include "server/http_rules.h"

namespace hadal::server {

/// Reads one request out of the bytes of a connection, however they are cut. Knows no socket.
class HttpReader {
 public:
  enum class Step : std::uint8_t { kNeedMore, kDone, kProblem };

  explicit HttpReader(const HttpLimits& limits);
  HttpReader(const HttpReader&) = delete;
  HttpReader& operator=(const HttpReader&) = delete;
  ~HttpReader();

  /// Takes the head off the front of `input`; until it is whole nothing is taken. Once kDone, head() is valid.
  [[nodiscard]] Step read_head(std::string& input);
  /// Takes what is there of the body. Behind kDone the next request begins. May want up to four bytes more of a chunk's
  /// first line before it finds fault with it.
  [[nodiscard]] Step read_body(std::string& input);

  [[nodiscard]] const RequestHead& head() const { return head_; }
  /// Bytes of the body so far.
  [[nodiscard]] std::string& body() { return body_; }
  [[nodiscard]] const HttpProblem& problem() const { return problem_; }

 private:
  struct Parser;
  Step fail(int status, std::string message);
  Step take_head();

  HttpLimits limits_;
  std::unique_ptr<Parser> parser_;
  std::size_t checked_ = 0;  // bytes of an unfinished head that were looked at
  RequestHead head_;
  std::string body_;
  HttpProblem problem_;
};

}  // namespace hadal::server
