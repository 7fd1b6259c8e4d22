#include "progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>

#include "base/units.h"

namespace hadal::apps {
namespace {

std::string duration(double seconds) {
  const auto whole = static_cast<std::int64_t>(seconds + 0.5);
  if (whole >= 3600) return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
  if (whole >= 60) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} s", whole);
}

}  // namespace

ProgressBar::ProgressBar(std::string_view what, std::string_view unit)
    : what_(what),
      unit_(unit),
      terminal_(::isatty(STDERR_FILENO) == 1),
      begin_(std::chrono::steady_clock::now()),
      last_(begin_) {}

void ProgressBar::update(std::int64_t done, std::int64_t total) {
  if (!terminal_) return;
  if (done >= total) return clear();
  const auto now = std::chrono::steady_clock::now();
  const double elapsed = std::chrono::duration<double>(now - begin_).count();
  if (done == 0 || elapsed < 0.5 || (shown_ && std::chrono::duration<double>(now - last_).count() < 0.1)) return;
  last_ = now;
  shown_ = true;
  constexpr std::int64_t kWidth = 24;
  const std::int64_t filled = kWidth * done / total;
  const double left = elapsed * static_cast<double>(total - done) / static_cast<double>(done);
  fmt::print(stderr, "\r{} [{:#<{}}{:.<{}}] {} of {} {}, {} left\x1b[K", what_, "", filled, "", kWidth - filled,
             with_separators(done), with_separators(total), unit_, duration(left));
  std::fflush(stderr);
}

void ProgressBar::clear() {
  if (!shown_) return;
  shown_ = false;
  fmt::print(stderr, "\r\x1b[K");
  std::fflush(stderr);
}

}  // namespace hadal::apps
