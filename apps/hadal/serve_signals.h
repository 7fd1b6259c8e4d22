#pragma once

#include <chrono>
#include <cstdint>

namespace hadal::apps {

/// The signals that a server lives by. They are blocked while this lives, so that every thread started meanwhile leaves
/// them to wait().
class ServeSignals {
 public:
  ServeSignals();
  ServeSignals(const ServeSignals&) = delete;
  ServeSignals& operator=(const ServeSignals&) = delete;
  ~ServeSignals();

  enum class Event : std::uint8_t { kNone, kEnd, kReload };
  /// The next of SIGTERM and SIGINT (kEnd) or SIGHUP (kReload), or kNone when `time` has passed.
  [[nodiscard]] Event wait(std::chrono::milliseconds time);
  /// From now on SIGTERM and SIGINT end the program at once.
  void let_end();
};

}  // namespace hadal::apps
