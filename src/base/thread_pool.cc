#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>

#include "base/check.h"

namespace hadal {
namespace {

constexpr int kSpins = 4000;  // about 20 us: longer than the gap between two operators of a decode step

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

ThreadPool::ThreadPool(int threads) : threads_(threads) {
  HADAL_CHECK(threads >= 1, "a thread pool needs at least one thread");
  workers_.reserve(static_cast<std::size_t>(threads - 1));
  for (int worker = 1; worker < threads; ++worker) {
    workers_.emplace_back([this, worker] { work(worker); });
  }
}

ThreadPool::~ThreadPool() {
  stopping_.store(true);
  generation_.fetch_add(1);
  {
    const std::lock_guard lock(mutex_);
    wake_.notify_all();
  }
  workers_.clear();  // joins
}

void ThreadPool::run_part(const Job& job, int worker, int threads) {
  const std::int64_t grains = (job.count + job.grain - 1) / job.grain;
  const std::int64_t begin = std::min(job.count, grains * worker / threads * job.grain);
  const std::int64_t end = std::min(job.count, grains * (worker + 1) / threads * job.grain);
  if (begin < end) job.call(job.context, begin, end, worker);
}

void ThreadPool::run(const Job& job) {
  if (job.count <= 0) return;
  if (threads_ == 1 || job.count <= job.grain) {
    job.call(job.context, 0, job.count, 0);
    return;
  }
  job_ = job;
  pending_.store(threads_ - 1, std::memory_order_relaxed);
  generation_.fetch_add(1);
  if (sleeping_.load() > 0) {
    const std::lock_guard lock(mutex_);
    wake_.notify_all();
  }
  run_part(job, 0, threads_);
  for (int spin = 0; pending_.load(std::memory_order_acquire) != 0; ++spin) {
    if (spin < kSpins) {
      pause();
    } else {
      std::this_thread::yield();  // the other threads may be waiting for this very processor
    }
  }
}

void ThreadPool::work(int worker) {
  std::uint64_t seen = 0;
  while (true) {
    for (int spin = 0; generation_.load(std::memory_order_acquire) == seen && spin < kSpins; ++spin) pause();
    if (generation_.load(std::memory_order_acquire) == seen) {
      std::unique_lock lock(mutex_);
      sleeping_.fetch_add(1);
      wake_.wait(lock, [&] { return generation_.load() != seen; });
      sleeping_.fetch_sub(1);
    }
    seen = generation_.load(std::memory_order_acquire);
    if (stopping_.load()) return;
    run_part(job_, worker, threads_);
    pending_.fetch_sub(1, std::memory_order_release);
  }
}

int available_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

}  // namespace hadal
