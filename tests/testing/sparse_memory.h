#pragma once

#include <sys/mman.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/check.h"
#include "tensor/tensor.h"

namespace hadal::testing {

/// Address space of any size that takes memory only where it is touched, and reads as zeros elsewhere.
class SparseMemory {
 public:
  explicit SparseMemory(std::int64_t bytes) : bytes_(static_cast<std::size_t>(bytes)) {
    memory_ = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    HADAL_CHECK(memory_ != MAP_FAILED, "the system gives address space without memory behind it");
  }
  SparseMemory(const SparseMemory&) = delete;
  SparseMemory& operator=(const SparseMemory&) = delete;
  ~SparseMemory() { ::munmap(memory_, bytes_); }
  [[nodiscard]] std::byte* data() const { return static_cast<std::byte*>(memory_); }

 private:
  std::size_t bytes_;
  void* memory_ = nullptr;
};

/// A copy of a host tensor whose outermost slices lie 2 GiB and a bit apart: from the third on offsets pass 2^32 bytes.
class SpreadTensor {
 public:
  explicit SpreadTensor(const TensorView& tensor)
      : memory_(tensor.extent(0) * kPitch), view_(memory_.data(), tensor.type(), tensor.shape(), strides(tensor)) {
    const std::int64_t slice = tensor.elements() / tensor.extent(0) * size_of(tensor.type());
    for (std::int64_t i = 0; i < tensor.extent(0); ++i) {
      std::memcpy(memory_.data() + i * kPitch, tensor.bytes() + i * tensor.stride(0) * size_of(tensor.type()),
                  static_cast<std::size_t>(slice));
    }
  }
  [[nodiscard]] const TensorView& view() const { return view_; }

 private:
  static constexpr std::int64_t kPitch = (std::int64_t{1} << 31) + 64;

  static std::array<std::int64_t, Shape::kMaxRank> strides(const TensorView& tensor) {
    std::array<std::int64_t, Shape::kMaxRank> result{};
    for (int i = 0; i < tensor.rank(); ++i) result[static_cast<std::size_t>(i)] = tensor.stride(i);
    result[0] = kPitch / size_of(tensor.type());
    return result;
  }

  SparseMemory memory_;
  TensorView view_;
};

}  // namespace hadal::testing
