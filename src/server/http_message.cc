#include "server/http_message.h"

#include <algorithm>

namespace hadal::server {
namespace {

/// 0..15, or -1.
int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// Escapes decoded once. None: broken, or an escape that would change the structure of the path.
std::optional<std::string> percent_decode(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '%') {
      out += text[at];
      continue;
    }
    if (at + 2 >= text.size()) return std::nullopt;
    const int high = hex_digit(text[at + 1]);
    const int low = hex_digit(text[at + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    const char decoded = static_cast<char>(high * 16 + low);
    if (decoded == '\0' || decoded == '/') return std::nullopt;
    out += decoded;
    at += 2;
  }
  return out;
}

}  // namespace

std::optional<std::string_view> find_header(const std::vector<Header>& headers, std::string_view name) {
  const auto found = std::find_if(headers.begin(), headers.end(), [&](const Header& h) { return h.name == name; });
  if (found == headers.end()) return std::nullopt;
  return found->value;
}

std::string_view reason_phrase(int status) {
  struct Phrase {
    int status;
    std::string_view text;
  };
  static constexpr Phrase kPhrases[] = {
      {200, "OK"},
      {204, "No Content"},
      {400, "Bad Request"},
      {401, "Unauthorized"},
      {402, "Payment Required"},
      {403, "Forbidden"},
      {404, "Not Found"},
      {405, "Method Not Allowed"},
      {408, "Request Timeout"},
      {413, "Payload Too Large"},
      {414, "URI Too Long"},
      {415, "Unsupported Media Type"},
      {417, "Expectation Failed"},
      {422, "Unprocessable Entity"},
      {429, "Too Many Requests"},
      {431, "Request Header Fields Too Large"},
      {500, "Internal Server Error"},
      {503, "Service Unavailable"},
      {504, "Gateway Timeout"},
      {505, "HTTP Version Not Supported"},
      {529, "Overloaded"},
  };
  for (const Phrase& phrase : kPhrases) {
    if (phrase.status == status) return phrase.text;
  }
  return "Unknown";
}

std::optional<std::string> plain_path(std::string_view target) {
  if (target.empty() || target.front() != '/') return std::nullopt;
  std::string path;
  for (std::size_t at = 0; at < target.size();) {
    at += 1;  // the slash
    const std::size_t end = std::min(target.find('/', at), target.size());
    const auto segment = percent_decode(target.substr(at, end - at));
    if (!segment || *segment == "..") return std::nullopt;
    if (!segment->empty()) path.append("/").append(*segment);
    at = end;
  }
  return path.empty() ? "/" : path;
}

std::optional<std::string> visible_ascii(std::string_view text, std::size_t limit) {
  const bool visible = std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
  if (text.empty() || text.size() > limit || !visible) return std::nullopt;
  return std::string(text);
}

}  // namespace hadal::server
