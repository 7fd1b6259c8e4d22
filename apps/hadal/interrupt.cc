#include "interrupt.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>

namespace hadal::apps {
namespace {

std::atomic<int> write_end{-1};

void on_interrupt(int) {
  const int saved = errno;
  const char byte = 1;
  // Nothing can be done here if the pipe is full: an interrupt is waiting already.
  [[maybe_unused]] const auto written = ::write(write_end.load(), &byte, 1);
  errno = saved;
}

void install() {
  struct sigaction action{};
  action.sa_handler = on_interrupt;
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // the next one is the system's
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, nullptr);
}

}  // namespace

Interrupt::Interrupt() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) return;  // Ctrl-C keeps its usual meaning then
  read_end_ = ends[0];
  write_end = ends[1];
  install();
  watcher_ = std::jthread([this](std::stop_token ending) { watch(std::move(ending)); });
}

Interrupt::~Interrupt() {
  if (read_end_ < 0) return;
  ::signal(SIGINT, SIG_DFL);
  watcher_.request_stop();
  on_interrupt(SIGINT);  // wakes the watcher
  watcher_.join();
  ::close(read_end_);
  ::close(write_end.exchange(-1));
}

std::stop_token Interrupt::begin() {
  const std::lock_guard lock(mutex_);
  source_ = std::stop_source();
  if (read_end_ >= 0) install();
  return source_.get_token();
}

void Interrupt::watch(std::stop_token ending) {
  while (!ending.stop_requested()) {
    pollfd waiting{.fd = read_end_, .events = POLLIN, .revents = 0};
    ::poll(&waiting, 1, -1);
    char byte = 0;
    if (::read(read_end_, &byte, 1) != 1) continue;
    const std::lock_guard lock(mutex_);
    source_.request_stop();
  }
}

}  // namespace hadal::apps
