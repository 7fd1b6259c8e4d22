#pragma once

#include <algorithm>
#include <cstdint>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {

/// How rows are cut for sums over rows, the gradients of constants: one worker adds the rows of a chunk in their order,
/// and the sums of the chunks are added in theirs. The cut depends on the number of rows alone.
class RowChunks {
 public:
  explicit constexpr RowChunks(std::int64_t rows)
      : rows_(rows), length_(std::max(kShortest, (rows + kMost - 1) / kMost + 15) / 16 * 16) {}

  [[nodiscard]] constexpr std::int64_t count() const { return (rows_ + length_ - 1) / length_; }
  [[nodiscard]] constexpr std::int64_t begin(std::int64_t chunk) const { return chunk * length_; }
  [[nodiscard]] constexpr std::int64_t end(std::int64_t chunk) const { return std::min(rows_, (chunk + 1) * length_); }

 private:
  static constexpr std::int64_t kShortest = 64;  // rows; fewer are not worth a sum of their own
  static constexpr std::int64_t kMost = 32;      // chunks; bounds the memory of their sums

  std::int64_t rows_;
  std::int64_t length_;  // whole groups of 16 rows, which kernels take together
};

/// out[i] += partials[0][i], then partials[1][i] and so on; partials lie `stride` apart.
inline void add_chunks(CpuBackend& backend, const float* partials, std::int64_t chunks, std::int64_t stride, float* out,
                       std::int64_t count) {
  backend.pool().parallel_for(count, kElementsPerFork, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
      backend.kernels().accumulate(partials + chunk * stride + begin, out + begin, end - begin);
    }
  });
}

}  // namespace hadal::cpu
