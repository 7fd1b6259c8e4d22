#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <vector>

namespace hadal {
namespace {

TEST(ThreadPool, CoversEveryIndexOnceForAnyThreadsCountAndGrain) {
  for (const int threads : {1, 2, 3, 5}) {
    ThreadPool pool(threads);
    for (const std::int64_t count : {0, 1, 2, 7, 64, 1000}) {
      for (const std::int64_t grain : {1, 3, 64}) {
        std::vector<int> visits(static_cast<std::size_t>(count), 0);
        pool.parallel_for(count, grain, [&](std::int64_t begin, std::int64_t end, int worker) {
          EXPECT_EQ(begin % grain, 0);
          EXPECT_LT(worker, threads);
          for (std::int64_t i = begin; i < end; ++i) ++visits[static_cast<std::size_t>(i)];
        });
        EXPECT_EQ(visits, std::vector<int>(static_cast<std::size_t>(count), 1));
      }
    }
  }
}

TEST(ThreadPool, WakesSleepingWorkers) {
  ThreadPool pool(2);
  for (int round = 0; round < 20; ++round) {
    std::vector<int> seen(2, 0);
    pool.parallel_for(2, 1, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t i = begin; i < end; ++i) seen[static_cast<std::size_t>(i)] = round;
    });
    EXPECT_EQ(seen, std::vector<int>(2, round));
    std::this_thread::yield();
  }
}

}  // namespace
}  // namespace hadal
