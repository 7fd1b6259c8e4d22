#include "server/http_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <charconv>
#include <functional>
#include <utility>

#include "server/http_text.h"

namespace hadal::server {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;

constexpr std::size_t kLeastChunkEnd = 5;        // the shortest last chunk; Beast asserts that it gets no less of one
constexpr std::size_t kLongestChunkLine = 4096;  // with its extension, and of a trailer

/// Path and query of a target in origin form, or in absolute form to the host that the request names anyway.
std::optional<std::string_view> origin_form(std::string_view target, std::string_view host) {
  if (target.starts_with('/')) return target;
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!target.starts_with(scheme)) continue;
    target.remove_prefix(scheme.size());
    if (!target.starts_with(host) || host.empty()) return std::nullopt;
    target.remove_prefix(host.size());
    if (target.starts_with('/')) return target;
    return target.empty() ? std::optional<std::string_view>("/") : std::nullopt;
  }
  return std::nullopt;
}

}  // namespace

struct HttpReader::Parser {
  http::request_parser<http::buffer_body> parser;
  std::array<char, 16384> piece{};
  bool long_extension = false;
  bool in_chunk_line = false;  // the bytes that are there are the beginning of a chunk's first line or of the trailer
  std::function<void(std::uint64_t, boost::beast::string_view, boost::beast::error_code&)> on_chunk;
};

HttpReader::HttpReader(const HttpLimits& limits) : limits_(limits) {}

HttpReader::~HttpReader() = default;

HttpReader::Step HttpReader::fail(int status, std::string message) {
  problem_ = {status, std::move(message)};
  return Step::kProblem;
}

HttpReader::Step HttpReader::read_head(std::string& input) {
  const std::size_t from = checked_ < 3 ? 0 : checked_ - 3;
  const std::size_t end = input.find("\r\n\r\n", from);
  if (end == std::string::npos) {
    auto problem = check_partial_head(input, checked_ == 0 ? 0 : checked_ - 1, limits_);
    checked_ = input.size();
    if (!problem) return Step::kNeedMore;
    problem_ = std::move(*problem);
    return Step::kProblem;
  }
  const std::string_view text = std::string_view(input).substr(0, end + 4);
  if (auto problem = check_head(text, limits_)) {
    problem_ = std::move(*problem);
    return Step::kProblem;
  }
  parser_ = std::make_unique<Parser>();
  parser_->parser.header_limit(static_cast<std::uint32_t>(limits_.request_line + limits_.headers + 4));
  parser_->parser.body_limit(boost::none);  // counted here, where the answer is known
  parser_->on_chunk = [this](std::uint64_t, boost::beast::string_view extension, boost::beast::error_code& error) {
    if (extension.size() <= limits_.chunk_extension) return;
    parser_->long_extension = true;
    error = http::error::bad_chunk_extension;
  };
  parser_->parser.on_chunk_header(parser_->on_chunk);
  boost::beast::error_code error;
  parser_->parser.put(asio::buffer(text.data(), text.size()), error);
  if ((error && error != http::error::need_more) || !parser_->parser.is_header_done()) {
    return fail(400, "the head of the request is malformed");
  }
  input.erase(0, text.size());
  return take_head();
}

HttpReader::Step HttpReader::take_head() {
  const auto& message = parser_->parser.get();
  head_ = {};
  head_.method = std::string(message.method_string());
  head_.minor_version = message.version() == 10 ? 0 : 1;
  for (const auto& field : message) {
    head_.headers.push_back(
        {lower(std::string_view(field.name_string().data(), field.name_string().size())), std::string(field.value())});
  }
  head_.keep_alive = message.keep_alive();
  head_.chunked = message.chunked();
  if (const auto length = find_header(head_.headers, "content-length")) {
    std::int64_t bytes = 0;
    std::from_chars(length->data(), length->data() + length->size(), bytes);
    head_.content_length = bytes;
  }
  if (const auto expect = find_header(head_.headers, "expect")) {
    if (lower(*expect) != "100-continue") return fail(417, "the only expectation that can be met is 100-continue");
    head_.expects_continue = head_.minor_version == 1;
  }
  const std::string target(message.target());
  const auto form = origin_form(target, find_header(head_.headers, "host").value_or(""));
  if (!form) return fail(400, "the request target is neither a path nor a URL of this host");
  const std::size_t mark = std::min(form->find('?'), form->size());
  if (mark < form->size()) head_.query = form->substr(mark + 1);
  head_.path = plain_path(form->substr(0, mark)).value_or("");  // "" is found nowhere: 404
  return Step::kDone;
}

HttpReader::Step HttpReader::read_body(std::string& input) {
  http::request_parser<http::buffer_body>& parser = parser_->parser;
  while (!parser.is_done()) {
    if (input.size() < (parser_->in_chunk_line ? kLeastChunkEnd : 1)) return Step::kNeedMore;
    auto& place = parser.get().body();
    place.data = parser_->piece.data();
    place.size = parser_->piece.size();
    boost::beast::error_code error;
    const std::size_t taken = parser.put(asio::buffer(input.data(), input.size()), error);
    const std::size_t written = parser_->piece.size() - place.size;
    if (static_cast<std::int64_t>(body_.size() + written) > limits_.body) {
      return fail(413, fmt::format("the body is larger than {} bytes", limits_.body));
    }
    body_.append(parser_->piece.data(), written);
    input.erase(0, taken);
    if (error && error != http::error::need_more && error != http::error::need_buffer) {
      return fail(400, parser_->long_extension ? "a chunk extension is too long" : "the body is not well-formed");
    }
    parser_->in_chunk_line = taken == 0 && written == 0 && error == http::error::need_more;
    if (parser_->in_chunk_line) {
      if (input.size() > kLongestChunkLine) return fail(400, "a line between the chunks is too long");
      return Step::kNeedMore;
    }
  }
  return Step::kDone;
}

}  // namespace hadal::server
