#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace hadal::bench {

/// Arrival of one stream's pieces.
struct StreamTimes {
  std::chrono::steady_clock::time_point sent{};
  std::vector<std::chrono::steady_clock::time_point> events{};  // with text
  bool complete = false;                                        // data: [DONE] came
};

struct LoadResult {
  std::vector<StreamTimes> streams;
  double seconds = 0;      // from the first request to the last [DONE]
  double cpu_seconds = 0;  // of the calling thread
};

/// Sends every body at once to POST `path` of 127.0.0.1:`port`, each on a connection of its own, and reads all streams
/// to their ends. One thread, epoll. Ends the program with a message when a socket fails.
[[nodiscard]] LoadResult load(std::uint16_t port, const std::string& path, const std::vector<std::string>& bodies);

}  // namespace hadal::bench
