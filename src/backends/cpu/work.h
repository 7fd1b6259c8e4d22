#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "backends/cpu/cpu_backend.h"
#include "ops/backend.h"
#include "tensor/tensor.h"

namespace hadal::cpu {

/// The backend behind a stream of CpuBackend::create_stream().
[[nodiscard]] inline CpuBackend& backend_of(ops::Stream& stream) { return static_cast<CpuBackend&>(stream.backend()); }

[[nodiscard]] inline bool is_f32(const TensorView& view) { return view.type() == DType::kF32; }
[[nodiscard]] inline bool is_bf16(const TensorView& view) { return view.type() == DType::kBf16; }
[[nodiscard]] inline bool is_f32_or_bf16(const TensorView& view) { return is_f32(view) || is_bf16(view); }

/// For operators that need no working memory.
template <class Args>
[[nodiscard]] std::int64_t no_scratch(const ops::Backend&, const Args&) {
  return 0;
}

/// `bytes` rounded up to whole cache lines, so that pieces of scratch memory neither share one nor lose alignment.
[[nodiscard]] constexpr std::int64_t padded(std::int64_t bytes) { return (bytes + 63) / 64 * 64; }

/// Hands out consecutive aligned pieces of scratch memory. Without memory it only counts.
class Carver {
 public:
  explicit Carver(std::byte* memory) : memory_(memory) {}

  template <class T>
  [[nodiscard]] T* take(std::int64_t count) {
    std::byte* piece = rest();
    used_ += padded(count * static_cast<std::int64_t>(sizeof(T)));
    return static_cast<T*>(static_cast<void*>(piece));
  }
  /// What has not been handed out.
  [[nodiscard]] std::byte* rest() const { return memory_ == nullptr ? nullptr : memory_ + used_; }
  /// Bytes that have been handed out.
  [[nodiscard]] std::int64_t used() const { return used_; }

 private:
  std::byte* memory_;
  std::int64_t used_ = 0;
};

/// Elements a thread should have to itself before another one is woken: a fork-join costs about as much as this.
inline constexpr std::int64_t kElementsPerFork = 8192;

/// Items of so many elements each that are worth a thread.
[[nodiscard]] constexpr std::int64_t grain_of(std::int64_t elements) {
  return std::max<std::int64_t>(1, kElementsPerFork / std::max<std::int64_t>(1, elements));
}

/// body(begin, end, worker) over parts of [0, rows); few or short rows stay on the calling thread.
template <class Body>
void for_rows(ThreadPool& pool, std::int64_t rows, std::int64_t elements_per_row, Body&& body) {
  pool.parallel_for(rows, grain_of(elements_per_row), body);
}

}  // namespace hadal::cpu
