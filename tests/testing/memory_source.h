#pragma once

#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/tensor_table.h"
#include "formats/weight_source.h"

namespace hadal::testing_support {

/// Tensors in memory that a test can change one by one. Those without bytes of their own share one block of zeros, so
/// that a table of hundreds of gigabytes fits.
class MemorySource final : public formats::WeightSource {
 public:
  struct Item {
    DType type = DType::kF32;
    Shape shape;
    std::vector<std::byte> bytes = {};  // empty: zeros
  };

  MemorySource() = default;
  explicit MemorySource(const formats::TensorTable& table) {
    std::int64_t largest = 0;
    for (const formats::ExpectedTensor& tensor : table.tensors) {
      items[tensor.name] = {tensor.type, tensor.shape};
      if (tensor.type == DType::kI64) largest = std::max(largest, tensor.bytes());
    }
    zeros_.resize(static_cast<std::size_t>(largest));  // only tables of expert numbers are ever read
  }

  [[nodiscard]] Result<formats::HostTensor> tensor(std::string_view name) const override {
    const auto found = items.find(name);
    if (found == items.end()) return fail(ErrorCode::kNotFound, "no tensor " + std::string(name));
    const Item& item = found->second;
    const std::byte* data = item.bytes.empty() ? zeros_.data() : item.bytes.data();
    return formats::HostTensor{data, item.type, item.shape, item.shape.elements() * size_of(item.type)};
  }
  [[nodiscard]] bool contains(std::string_view name) const override { return items.contains(name); }
  [[nodiscard]] std::vector<std::string> names() const override {
    std::vector<std::string> result;
    for (const auto& [name, item] : items) result.push_back(name);
    return result;
  }
  [[nodiscard]] std::string description() const override { return "memory"; }

  std::map<std::string, Item, std::less<>> items;

 private:
  std::vector<std::byte> zeros_;
};

}  // namespace hadal::testing_support
