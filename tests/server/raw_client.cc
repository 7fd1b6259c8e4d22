#include "server/raw_client.h"

#include <fmt/format.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <utility>

#include "server/http_text.h"

namespace hadal::server {
namespace {

constexpr int kPatience = 30'000;  // milliseconds

}  // namespace

RawClient::RawClient(std::uint16_t port, const std::string& address) {
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* info = nullptr;
  if (getaddrinfo(address.c_str(), fmt::to_string(port).c_str(), &hints, &info) != 0) return;
  fd_ = socket(info->ai_family, info->ai_socktype, info->ai_protocol);
  if (fd_ >= 0 && connect(fd_, info->ai_addr, info->ai_addrlen) != 0) {
    close(fd_);
    fd_ = -1;
  }
  freeaddrinfo(info);
}

RawClient RawClient::to_unix(const std::string& path) {
  RawClient client;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  client.fd_ = socket(AF_UNIX, SOCK_STREAM, 0);
  const void* const plain = &address;
  if (connect(client.fd_, static_cast<const sockaddr*>(plain), sizeof address) != 0) {
    close(client.fd_);
    client.fd_ = -1;
  }
  return client;
}

RawClient::RawClient(RawClient&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), ended_(other.ended_), input_(std::move(other.input_)) {}

RawClient::~RawClient() {
  if (fd_ >= 0) close(fd_);
}

bool RawClient::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const auto sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

std::size_t RawClient::send_some(std::string_view bytes) {
  const auto sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  return sent < 0 ? 0 : static_cast<std::size_t>(sent);
}

bool RawClient::read_more() {
  if (ended_) return false;
  pollfd wait{.fd = fd_, .events = POLLIN, .revents = 0};
  if (poll(&wait, 1, kPatience) <= 0) return false;
  std::array<char, 65536> piece;
  const auto bytes = recv(fd_, piece.data(), piece.size(), 0);
  if (bytes <= 0) {
    ended_ = true;
    was_reset_ = bytes < 0 && errno == ECONNRESET;
    return false;
  }
  input_.append(piece.data(), static_cast<std::size_t>(bytes));
  return true;
}

std::string RawClient::read_until(std::string_view mark) {
  std::size_t at = input_.find(mark);
  while (at == std::string::npos && read_more()) at = input_.find(mark);
  const std::size_t end = at == std::string::npos ? input_.size() : at + mark.size();
  std::string out = input_.substr(0, end);
  input_.erase(0, end);
  return out;
}

bool RawClient::read_chunks(std::string& body) {
  while (true) {
    const std::string line = read_until("\r\n");
    std::size_t size = 0;
    const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), size, 16);
    if (error != std::errc() || std::string_view(end, 2) != "\r\n") return false;
    while (input_.size() < size + 2 && read_more()) {
    }
    if (input_.size() < size + 2) {
      body += std::exchange(input_, {});
      return false;
    }
    body += input_.substr(0, size);
    input_.erase(0, size + 2);
    if (size == 0) return true;
  }
}

RawAnswer RawClient::read_answer(bool head_only) {
  RawAnswer answer{.head = read_until("\r\n\r\n")};
  if (!answer.head.starts_with("HTTP/1.1 ") || !answer.head.ends_with("\r\n\r\n")) return answer;
  std::string_view rest = answer.head;
  static_cast<void>(std::from_chars(rest.data() + 9, rest.data() + rest.size(), answer.status));
  rest.remove_prefix(rest.find("\r\n") + 2);
  while (rest != "\r\n") {
    const std::string_view line = rest.substr(0, rest.find("\r\n"));
    const std::size_t colon = line.find(':');
    answer.headers[lower(line.substr(0, colon))] = trim(line.substr(colon + 1));
    rest.remove_prefix(line.size() + 2);
  }
  if (head_only || answer.status == 204 || answer.status < 200) {
    answer.whole = true;
  } else if (answer.headers.contains("transfer-encoding")) {
    answer.whole = read_chunks(answer.body);
  } else if (answer.headers.contains("content-length")) {
    const std::size_t size = std::stoul(answer.headers["content-length"]);
    while (input_.size() < size && read_more()) {
    }
    answer.whole = input_.size() >= size;
    answer.body = input_.substr(0, size);
    input_.erase(0, size);
  } else {
    const auto body = read_to_end();
    answer.whole = body.has_value();
    answer.body = body.value_or("");
  }
  return answer;
}

std::optional<std::string> RawClient::read_to_end() {
  while (read_more()) {
  }
  if (!ended_) return std::nullopt;
  return std::exchange(input_, {});
}

void RawClient::finish() { shutdown(fd_, SHUT_WR); }

void RawClient::reset() {
  const linger none{.l_onoff = 1, .l_linger = 0};
  setsockopt(fd_, SOL_SOCKET, SO_LINGER, &none, sizeof none);
  close(std::exchange(fd_, -1));
}

void RawClient::shrink_buffer() {
  const int bytes = 4096;
  setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
}

std::string http_request(std::string_view method, std::string_view path, std::string_view body,
                         std::string_view headers) {
  std::string out = fmt::format("{} {} HTTP/1.1\r\nHost: localhost\r\n{}", method, path, headers);
  if (method == "POST") {
    out += fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n", body.size());
  }
  return out + "\r\n" + std::string(body);
}

}  // namespace hadal::server
