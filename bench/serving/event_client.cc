#include "event_client.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cstdlib>
#include <ctime>
#include <string_view>

namespace hadal::bench {
namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void give_up(const char* what) {
  std::perror(what);
  std::exit(1);
}

int connect_to(std::uint16_t port) {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const auto generic = std::bit_cast<sockaddr>(address);
  if (socket < 0 || ::connect(socket, &generic, sizeof(address)) != 0) give_up("connect");
  const int on = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  return socket;
}

double thread_seconds() {
  std::timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// Counts the events of one stream; what is left of a line stays for the next bytes.
class Reader {
 public:
  explicit Reader(StreamTimes& times) : times_(times) {}

  void take(std::string_view bytes, Clock::time_point now) {
    rest_ += bytes;
    std::size_t begin = 0;
    for (std::size_t end = 0; (end = rest_.find('\n', begin)) != std::string::npos; begin = end + 1) {
      const std::string_view line = std::string_view(rest_).substr(begin, end - begin);
      if (line.starts_with("data: [DONE]")) times_.complete = true;
      if (line.starts_with("data: {") && line.find("\"finish_reason\":null") != std::string_view::npos &&
          line.find("\"content\":\"\"") == std::string_view::npos) {
        times_.events.push_back(now);
      }
    }
    rest_.erase(0, begin);
  }

 private:
  StreamTimes& times_;
  std::string rest_;
};

}  // namespace

LoadResult load(std::uint16_t port, const std::string& path, const std::vector<std::string>& bodies) {
  LoadResult result{.streams = std::vector<StreamTimes>(bodies.size())};
  const double cpu = thread_seconds();
  const int poll = ::epoll_create1(EPOLL_CLOEXEC);
  std::vector<int> sockets;
  std::vector<Reader> readers;
  for (std::size_t i = 0; i < bodies.size(); ++i) {
    sockets.push_back(connect_to(port));
    readers.emplace_back(result.streams[i]);
    epoll_event event{.events = EPOLLIN, .data = {.u64 = i}};
    ::epoll_ctl(poll, EPOLL_CTL_ADD, sockets.back(), &event);
  }
  const auto begin = Clock::now();
  for (std::size_t i = 0; i < bodies.size(); ++i) {
    const std::string request = fmt::format(
        "POST {} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n"
        "Connection: close\r\n\r\n{}",
        path, port, bodies[i].size(), bodies[i]);
    result.streams[i].sent = Clock::now();
    if (::write(sockets[i], request.data(), request.size()) != static_cast<ssize_t>(request.size())) give_up("write");
  }
  std::array<char, 65536> buffer{};
  std::array<epoll_event, 64> ready{};
  for (std::size_t open = bodies.size(); open > 0;) {
    const int count = ::epoll_wait(poll, ready.data(), static_cast<int>(ready.size()), -1);
    for (int k = 0; k < count; ++k) {
      const std::size_t i = ready[static_cast<std::size_t>(k)].data.u64;
      const ssize_t bytes = ::read(sockets[i], buffer.data(), buffer.size());
      if (bytes > 0) {
        readers[i].take({buffer.data(), static_cast<std::size_t>(bytes)}, Clock::now());
        continue;
      }
      ::close(sockets[i]);
      --open;
    }
  }
  result.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  result.cpu_seconds = thread_seconds() - cpu;
  ::close(poll);
  return result;
}

}  // namespace hadal::bench
