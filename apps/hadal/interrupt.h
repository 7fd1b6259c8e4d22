#pragma once

#include <mutex>
#include <stop_token>
#include <thread>

namespace hadal::apps {

/// Turns Ctrl-C (SIGINT) into a request to stop what is going on. A second Ctrl-C before it has stopped ends the
/// program as if nothing had been installed. One object at a time.
class Interrupt {
 public:
  Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;
  ~Interrupt();

  /// A fresh token, for the next piece of work; earlier interrupts are forgotten.
  [[nodiscard]] std::stop_token begin();

 private:
  void watch(std::stop_token ending);

  int read_end_ = -1;
  std::mutex mutex_;  // guards source_
  std::stop_source source_;
  std::jthread watcher_;
};

}  // namespace hadal::apps
