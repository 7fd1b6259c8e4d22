#include "interrupt.h"

#include <csignal>

namespace hadal::apps {
namespace {

volatile std::sig_atomic_t interrupt_seen = 0;  // a signal handler can reach nothing but a global

void on_interrupt(int /*signal*/) { interrupt_seen = 1; }

}  // namespace

void catch_interrupts() {
  struct sigaction action{};
  action.sa_handler = on_interrupt;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
}

bool interrupted() { return interrupt_seen != 0; }

}  // namespace hadal::apps
