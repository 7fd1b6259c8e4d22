#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>
#include <vector>

namespace hadal::trace {

/// One piece of work on one thread. Times in nanoseconds since the trace began.
struct Record {
  std::string_view name;
  std::string_view value_name;  // empty: no value
  std::int64_t value = 0;
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::uint32_t thread = 0;  // numbered as threads first record
};

namespace detail {
extern std::atomic<bool> enabled;
[[nodiscard]] std::int64_t now();
void add(Record record);
}  // namespace detail

/// Off at first, and then a span costs this load and a comparison at its end.
[[nodiscard]] inline bool enabled() { return detail::enabled.load(std::memory_order_acquire); }

/// Begins a trace that keeps the last `capacity` spans (rounded up to a power of two) in memory taken here: spans
/// allocate nothing and wait for nothing. Not while a trace is under way.
void start(std::int64_t capacity);

/// What was kept, by begin and, where that is equal, the enclosing span first.
struct Trace {
  std::vector<Record> records;
  std::int64_t dropped = 0;  // older spans, overwritten by newer ones
};
/// Ends the trace and gives its memory back. Not while other threads open or end spans.
[[nodiscard]] Trace stop();

/// Records the time from its construction to its destruction. The texts must live as long as the program.
class Span {
 public:
  explicit Span(std::string_view name, std::string_view value_name = {}, std::int64_t value = 0)
      : name_(name), value_name_(value_name), value_(value), begin_(enabled() ? detail::now() : kOff) {}
  Span(const Span&) = delete;
  Span& operator=(const Span&) = delete;
  ~Span() {
    if (begin_ != kOff) detail::add({.name = name_, .value_name = value_name_, .value = value_, .begin = begin_});
  }

 private:
  static constexpr std::int64_t kOff = -1;

  std::string_view name_;
  std::string_view value_name_;
  std::int64_t value_;
  std::int64_t begin_;  // or kOff: nothing is recorded
};

}  // namespace hadal::trace
