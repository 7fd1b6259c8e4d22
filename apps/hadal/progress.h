#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

namespace hadal::apps {

/// One line on standard error that shows how far something is and how long it will still take. Appears after half a
/// second and only on a terminal; writes at most ten times a second.
class ProgressBar {
 public:
  explicit ProgressBar(std::string_view what, std::string_view unit = "tokens");
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  ~ProgressBar() { clear(); }

  void update(std::int64_t done, std::int64_t total);
  /// Removes the line.
  void clear();

 private:
  std::string_view what_;
  std::string_view unit_;
  bool terminal_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point begin_;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace hadal::apps
