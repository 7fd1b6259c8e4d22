#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "formats/weight_source.h"
#include "tensor/tensor.h"

namespace hadal::engine {

/// Named tensors that own their memory: what a recording of the model holds. Reads like a checkpoint.
class VectorSet final : public formats::WeightSource {
 public:
  /// A new tensor of zeros, or the one that has the name already.
  std::byte* add(const std::string& name, DType type, Shape shape);

  [[nodiscard]] Result<formats::HostTensor> tensor(std::string_view name) const override;
  [[nodiscard]] bool contains(std::string_view name) const override { return tensors_.contains(name); }
  [[nodiscard]] std::vector<std::string> names() const override;
  [[nodiscard]] std::string description() const override { return "recorded vectors"; }

 private:
  struct Entry {
    DType type;
    Shape shape;
    std::vector<std::byte> bytes;
  };
  std::map<std::string, Entry, std::less<>> tensors_;
};

/// The elements of an I32 or I64 tensor. Errors: kNotFound, kInvalidArgument (another type).
[[nodiscard]] Result<std::vector<std::int64_t>> integers(const formats::WeightSource& source, std::string_view name);
/// The elements of an F32, F64 or BF16 tensor. Errors: as integers.
[[nodiscard]] Result<std::vector<float>> reals(const formats::WeightSource& source, std::string_view name);

}  // namespace hadal::engine
