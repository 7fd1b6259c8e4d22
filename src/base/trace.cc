#include "base/trace.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <memory>
#include <tuple>

#include "base/check.h"

namespace hadal::trace {
namespace {

/// A record in the ring, and whether a thread is writing it: two that are a whole ring apart may want the same place.
struct Place {
  std::atomic<bool> taken{false};
  Record record;
};

std::unique_ptr<Place[]> places;  // the ring: read by spans while `enabled`, changed by start and stop only
std::uint64_t capacity = 0;
std::atomic<std::uint64_t> used{0};
std::chrono::steady_clock::time_point epoch;

std::uint32_t thread_number() {
  static std::atomic<std::uint32_t> threads{0};
  thread_local const std::uint32_t number = threads.fetch_add(1, std::memory_order_relaxed);
  return number;
}

}  // namespace

namespace detail {

std::atomic<bool> enabled{false};

std::int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - epoch).count();
}

void add(Record record) {
  if (!enabled.load(std::memory_order_acquire)) return;  // stopped since the span began
  record.end = now();
  record.thread = thread_number();
  Place& place = places[used.fetch_add(1, std::memory_order_relaxed) & (capacity - 1)];
  if (place.taken.exchange(true, std::memory_order_acquire)) return;  // the other thread's span is kept
  place.record = record;
  place.taken.store(false, std::memory_order_release);
}

}  // namespace detail

void start(std::int64_t wanted) {
  HADAL_CHECK(!enabled(), "a trace is under way already");
  capacity = std::bit_ceil(static_cast<std::uint64_t>(std::max<std::int64_t>(wanted, 1)));
  places = std::make_unique<Place[]>(capacity);
  used.store(0, std::memory_order_relaxed);
  epoch = std::chrono::steady_clock::now();
  detail::enabled.store(true, std::memory_order_release);
}

Trace stop() {
  detail::enabled.store(false, std::memory_order_release);
  Trace trace;
  const std::uint64_t total = used.exchange(0, std::memory_order_relaxed);
  const std::uint64_t kept = std::min(total, capacity);
  trace.dropped = static_cast<std::int64_t>(total - kept);
  trace.records.reserve(kept);
  for (std::uint64_t i = 0; i < kept; ++i) trace.records.push_back(places[i].record);
  places.reset();
  std::sort(trace.records.begin(), trace.records.end(), [](const Record& a, const Record& b) {
    return std::tuple(a.begin, b.end, a.thread) < std::tuple(b.begin, a.end, b.thread);
  });
  return trace;
}

}  // namespace hadal::trace
