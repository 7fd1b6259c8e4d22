#pragma once

#include <algorithm>
#include <cstdint>

#include "base/check.h"
#include "tensor/tensor.h"

namespace hadal {

/// Pieces of a backend's memory begin at multiples of a cache line, so that no two share one.
inline constexpr std::int64_t kAlignment = 64;

[[nodiscard]] constexpr std::int64_t aligned(std::int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

/// Bump allocator over one piece of a backend's memory. Without memory it only measures: its views have no address and
/// `peak` says how much a run would need.
class Arena {
 public:
  Arena() = default;
  Arena(std::byte* data, std::int64_t bytes) : data_(data), bytes_(bytes) {}

  [[nodiscard]] TensorView allocate(DType type, Shape shape) {
    const std::int64_t begin = used_;
    used_ = begin + aligned(shape.elements() * size_of(type));
    peak_ = std::max(peak_, used_);
    HADAL_CHECK(data_ == nullptr || used_ <= bytes_, "a step needs more memory than was planned for it");
    return {data_ == nullptr ? nullptr : data_ + begin, type, shape};
  }

  [[nodiscard]] std::int64_t used() const { return used_; }
  /// Gives back all that was allocated after `used` had this value.
  void rewind(std::int64_t used) { used_ = used; }
  [[nodiscard]] std::int64_t peak() const { return peak_; }

 private:
  std::byte* data_ = nullptr;
  std::int64_t bytes_ = 0;
  std::int64_t used_ = 0;
  std::int64_t peak_ = 0;
};

/// Gives an arena's memory back at the end of a scope, unless it is to be kept.
class ArenaScope {
 public:
  explicit ArenaScope(Arena& arena, bool keep = false) : arena_(arena), keep_(keep), used_(arena.used()) {}
  ArenaScope(const ArenaScope&) = delete;
  ArenaScope& operator=(const ArenaScope&) = delete;
  ~ArenaScope() {
    if (!keep_) arena_.rewind(used_);
  }

 private:
  Arena& arena_;
  bool keep_;
  std::int64_t used_;
};

}  // namespace hadal
