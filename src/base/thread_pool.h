#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace hadal {

/// Fork-join pool with static ranges. The calling thread takes part, so a pool of 1 has no other thread. Workers spin
/// briefly after a job, then sleep. One caller at a time. Which thread runs which range never shows in a result:
/// callers split outputs, never sums.
class ThreadPool {
 public:
  /// `threads` >= 1 counts the caller.
  explicit ThreadPool(int threads);
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool();

  [[nodiscard]] int threads() const { return threads_; }

  /// Calls body(begin, end, worker) once for each non-empty part of [0, count), parts being multiples of `grain` (but
  /// for the last); worker in [0, threads()). Returns when all have ended. No allocation.
  template <class Body>
  void parallel_for(std::int64_t count, std::int64_t grain, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    run({.count = count,
         .grain = grain,
         .call = [](void* context, std::int64_t begin, std::int64_t end,
                    int worker) { (*static_cast<Plain*>(context))(begin, end, worker); },
         .context = const_cast<void*>(static_cast<const void*>(&body))});
  }

 private:
  struct Job {
    std::int64_t count = 0;
    std::int64_t grain = 1;
    void (*call)(void*, std::int64_t, std::int64_t, int) = nullptr;
    void* context = nullptr;
  };

  void run(const Job& job);
  void work(int worker);
  static void run_part(const Job& job, int worker, int threads);

  int threads_;
  Job job_;  // written before generation_ moves, read after
  std::atomic<std::uint64_t> generation_{0};
  std::atomic<int> pending_{0};
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;  // guards sleeping on wake_
  std::condition_variable wake_;
  std::atomic<int> sleeping_{0};
  std::vector<std::jthread> workers_;
};

/// Number of processors this process may use (its affinity mask).
[[nodiscard]] int available_processors();

}  // namespace hadal
