#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tensor/tensor.h"

namespace hadal::formats {

/// One tensor of a checkpoint as it lies in host memory (read-only; any alignment). FP4 weights have type kI8 in the
/// file and shape [rows, columns / 2].
struct HostTensor {
  const std::byte* data = nullptr;
  DType type = DType::kF32;
  Shape shape;
  std::int64_t bytes = 0;
};

/// Where a model's weights come from: a checkpoint directory, or a generator in tests. The memory behind a tensor
/// stays valid as long as the source.
class WeightSource {
 public:
  WeightSource() = default;
  WeightSource(const WeightSource&) = delete;
  WeightSource& operator=(const WeightSource&) = delete;
  virtual ~WeightSource() = default;

  /// The tensor of that official name. Errors: kNotFound.
  [[nodiscard]] virtual Result<HostTensor> tensor(std::string_view name) const = 0;
  [[nodiscard]] virtual bool contains(std::string_view name) const = 0;
  /// All names, sorted as bytes.
  [[nodiscard]] virtual std::vector<std::string> names() const = 0;
  /// What to call the source in messages (a path).
  [[nodiscard]] virtual std::string description() const = 0;
};

}  // namespace hadal::formats
