#include "serve_signals.h"

#include <csignal>
#include <ctime>

namespace hadal::apps {
namespace {

sigset_t signals(std::initializer_list<int> numbers) {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : numbers) sigaddset(&set, number);
  return set;
}

}  // namespace

ServeSignals::ServeSignals() {
  const sigset_t set = signals({SIGTERM, SIGINT, SIGHUP});
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

ServeSignals::~ServeSignals() {
  const sigset_t set = signals({SIGTERM, SIGINT, SIGHUP});
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

ServeSignals::Event ServeSignals::wait(std::chrono::milliseconds time) {
  const sigset_t set = signals({SIGTERM, SIGINT, SIGHUP});
  const std::timespec timeout{.tv_sec = time.count() / 1000, .tv_nsec = time.count() % 1000 * 1'000'000};
  switch (sigtimedwait(&set, nullptr, &timeout)) {
    case SIGTERM:
    case SIGINT:
      return Event::kEnd;
    case SIGHUP:
      return Event::kReload;
    default:
      return Event::kNone;
  }
}

void ServeSignals::let_end() {
  const sigset_t set = signals({SIGTERM, SIGINT});
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

}  // namespace hadal::apps
