#include "base/trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "testing/allocation_counter.h"

namespace hadal::trace {
namespace {

void outer_and_inner(std::int64_t rows) {
  const Span outer("outer");
  for (std::int64_t i = 0; i < 2; ++i) const Span inner("inner", "rows", rows + i);
}

TEST(TraceTest, RecordsNothingUntilItIsStarted) {
  outer_and_inner(1);
  start(8);
  EXPECT_TRUE(enabled());
  EXPECT_TRUE(stop().records.empty());
  EXPECT_FALSE(enabled());
}

TEST(TraceTest, NestsAndKeepsValues) {
  start(8);
  outer_and_inner(5);
  const Trace trace = stop();
  ASSERT_EQ(trace.records.size(), 3U);
  EXPECT_EQ(trace.dropped, 0);
  const Record& outer = trace.records[0];  // first: it began first
  EXPECT_EQ(outer.name, "outer");
  EXPECT_EQ(outer.value_name, "");
  for (std::size_t i = 1; i < 3; ++i) {
    const Record& inner = trace.records[i];
    EXPECT_EQ(inner.name, "inner");
    EXPECT_EQ(inner.value_name, "rows");
    EXPECT_EQ(inner.value, 4 + static_cast<std::int64_t>(i));
    EXPECT_EQ(inner.thread, outer.thread);
    EXPECT_GE(inner.begin, outer.begin);
    EXPECT_LE(inner.end, outer.end);
    EXPECT_LE(inner.begin, inner.end);
  }
  EXPECT_LE(trace.records[1].end, trace.records[2].begin);
}

TEST(TraceTest, KeepsTheNewestSpans) {
  start(3);  // a ring of 4
  for (std::int64_t i = 0; i < 10; ++i) const Span span("span", "i", i);
  const Trace trace = stop();
  EXPECT_EQ(trace.dropped, 6);
  std::vector<std::int64_t> values;
  for (const Record& record : trace.records) values.push_back(record.value);
  EXPECT_THAT(values, ::testing::UnorderedElementsAre(6, 7, 8, 9));
}

TEST(TraceTest, IsWrittenByManyThreadsWithoutAllocations) {
  constexpr std::int64_t kThreads = 4;
  constexpr std::int64_t kSpans = 1000;
  start(kThreads * kSpans);
  std::vector<std::thread> threads;
  std::atomic<std::int64_t> allocated{0};
  for (std::int64_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      const Span warm_up("warm-up");
      const std::int64_t before = hadal::testing::allocations();
      for (std::int64_t i = 1; i < kSpans; ++i) const Span span("work", "thread", thread);
      if (thread == 0) allocated = hadal::testing::allocations() - before;
    });
    if (thread == 0) threads.back().join();  // alone, so that the counter counts this thread only
  }
  for (std::size_t i = 1; i < threads.size(); ++i) threads[i].join();
  const Trace trace = stop();
  EXPECT_EQ(allocated, 0);
  ASSERT_EQ(trace.records.size(), static_cast<std::size_t>(kThreads * kSpans));
  std::vector<std::int64_t> spans(kThreads);
  std::vector<std::int64_t> number(kThreads, -1);  // of each thread in the trace
  for (const Record& record : trace.records) {
    if (record.name != "work") continue;
    ++spans[static_cast<std::size_t>(record.value)];
    std::int64_t& known = number[static_cast<std::size_t>(record.value)];
    if (known < 0) known = record.thread;
    EXPECT_EQ(known, record.thread);
  }
  EXPECT_THAT(spans, ::testing::Each(kSpans - 1));
}

}  // namespace
}  // namespace hadal::trace
