#include "backends/cpu/limits.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

namespace hadal::cpu {
namespace {

constexpr std::int64_t kBytes = std::int64_t{1} << 30;
constexpr std::int64_t kHugePage = 2 << 20;
constexpr int kPasses = 5;
constexpr std::int64_t kRounds = 1'000'000;  // some milliseconds of multiply-adds

/// Anonymous memory that is asked for in huge pages.
class HugeBuffer {
 public:
  explicit HugeBuffer(std::int64_t bytes)
      : bytes_(static_cast<std::size_t>(bytes)),
        data_(mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    if (data_ != MAP_FAILED) madvise(data_, bytes_, MADV_HUGEPAGE);
  }
  HugeBuffer(const HugeBuffer&) = delete;
  HugeBuffer& operator=(const HugeBuffer&) = delete;
  ~HugeBuffer() {
    if (data_ != MAP_FAILED) munmap(data_, bytes_);
  }
  [[nodiscard]] float* data() const { return data_ == MAP_FAILED ? nullptr : static_cast<float*>(data_); }

 private:
  std::size_t bytes_;
  void* data_;
};

/// Keeps results alive that nobody looks at.
std::atomic<float> sink;

/// Units a second of the best of several calls of work(), which does `units` of them.
template <class Work>
double best_rate(double units, Work&& work) {
  double best = 0.0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    best = std::max(best, units / time.count());
  }
  return best;
}

Rate peak(ThreadPool& pool, float (*run)(std::int64_t), std::int64_t flops) {
  const double once = static_cast<double>(flops * kRounds);
  Rate rate;
  rate.one = best_rate(once, [&] { sink = run(kRounds); });
  rate.all = best_rate(once * pool.threads(), [&] {
    pool.parallel_for(pool.threads(), 1, [&](std::int64_t, std::int64_t, int) { sink = run(kRounds); });
  });
  return rate;
}

}  // namespace

Result<Limits> measure_limits(ThreadPool& pool, const KernelTable& kernels) {
  Limits limits;
  limits.bf16 = peak(pool, kernels.peak_bf16, kernels.peak_bf16_flops);
  limits.f32 = peak(pool, kernels.peak_f32, kernels.peak_f32_flops);
  const HugeBuffer buffer(kBytes);
  float* data = buffer.data();
  if (data == nullptr) {
    return fail(ErrorCode::kResourceExhausted, "no 1 GiB of memory to measure the read bandwidth; free some and retry");
  }
  pool.parallel_for(kBytes, kHugePage, [&](std::int64_t begin, std::int64_t end, int) {
    std::fill(data + begin / 4, data + end / 4, 1.0F);
  });
  limits.read.one = best_rate(static_cast<double>(kBytes), [&] { sink = kernels.read(data, kBytes); });
  limits.read.all = best_rate(static_cast<double>(kBytes), [&] {
    pool.parallel_for(kBytes, kHugePage, [&](std::int64_t begin, std::int64_t end, int) {
      sink = kernels.read(data + begin / 4, end - begin);
    });
  });
  return limits;
}

}  // namespace hadal::cpu
