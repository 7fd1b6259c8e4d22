#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/philox.h"
#include "formats/tensor_table.h"
#include "formats/weight_source.h"

namespace hadal::testing {

/// A checkpoint of any size in little memory: each tensor is a piece of one pool of random numbers of its type, which
/// piece a hash of its name says. Scales are heavy-tailed, from 2^-60 to 2^20, and most near what keeps activations
/// sane.
class PoolSource final : public formats::WeightSource {
 public:
  PoolSource(const formats::TensorTable& table, std::uint32_t seed) : seed_(seed) {
    for (const formats::ExpectedTensor& tensor : table.tensors) {
      tensors_[tensor.name] = &tensor;
    }
    for (const DType type : {DType::kF32, DType::kBf16, DType::kE4m3, DType::kE8m0, DType::kI8, DType::kI64}) {
      std::int64_t bytes = 0;
      for (const formats::ExpectedTensor& tensor : table.tensors) {
        if (tensor.type == type) bytes = std::max(bytes, tensor.bytes());
      }
      if (bytes > 0) fill(type, bytes + kSlack, experts_of(table));
    }
  }

  [[nodiscard]] Result<formats::HostTensor> tensor(std::string_view name) const override {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) return fail(ErrorCode::kNotFound, "no tensor " + std::string(name));
    const formats::ExpectedTensor& expected = *found->second;
    std::uint64_t hash = 1469598103934665603ULL;
    for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
    const auto item = static_cast<std::uint64_t>(size_of(expected.type));
    // Rows of tid2eid must stay whole: any row may begin there.
    const std::uint64_t step =
        expected.type == DType::kI64 ? item * static_cast<std::uint64_t>(expected.shape[1]) : item;
    const std::uint64_t offset = hash % (kSlack / step) * step;
    return formats::HostTensor{.data = pools_.at(expected.type).data() + offset,
                               .type = expected.type,
                               .shape = expected.shape,
                               .bytes = expected.bytes()};
  }
  [[nodiscard]] bool contains(std::string_view name) const override { return tensors_.contains(name); }
  [[nodiscard]] std::vector<std::string> names() const override {
    std::vector<std::string> names;
    for (const auto& [name, tensor] : tensors_) names.push_back(name);
    return names;
  }
  [[nodiscard]] std::string description() const override { return "pool of random numbers"; }

 private:
  static constexpr std::uint64_t kSlack = 1 << 20;

  static std::pair<std::int64_t, std::int64_t> experts_of(const formats::TensorTable& table) {
    std::int64_t experts = 1;
    std::int64_t chosen = 1;
    for (const formats::ExpectedTensor& tensor : table.tensors) {
      if (tensor.name.ends_with("ffn.gate.weight")) experts = tensor.shape[0];
      if (tensor.name.ends_with("tid2eid")) chosen = tensor.shape[1];
    }
    return {experts, chosen};
  }

  void fill(DType type, std::uint64_t bytes, std::pair<std::int64_t, std::int64_t> experts) {
    std::vector<std::byte>& pool = pools_[type];
    pool.resize(bytes);
    const std::uint64_t items = bytes / static_cast<std::uint64_t>(size_of(type));
    for (std::uint64_t i = 0; i < items; ++i) {
      const auto bits = philox(
          {static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(i >> 32), static_cast<std::uint32_t>(type), 0},
          {seed_, 3});
      // Sum of four uniforms: near a normal distribution of deviation 0.58.
      const float normal = (static_cast<float>(bits[0]) + static_cast<float>(bits[1]) + static_cast<float>(bits[2]) +
                            static_cast<float>(bits[3])) *
                               0x1p-32F -
                           2.0F;
      std::byte* const at = pool.data() + i * static_cast<std::uint64_t>(size_of(type));
      switch (type) {
        case DType::kF32: {
          const float value = normal * 0.02F;
          std::memcpy(at, &value, 4);
          break;
        }
        case DType::kBf16: {
          const bf16 value = to_bf16(normal * 0.05F);
          std::memcpy(at, &value, 2);
          break;
        }
        case DType::kE4m3: {
          auto code = static_cast<std::uint8_t>(bits[0]);
          if ((code & 0x7F) == 0x7F) code ^= 1;  // no NaN
          *at = std::byte{code};
          break;
        }
        case DType::kE8m0: {
          // One scale in 64 lies anywhere in [2^-60, 2^-13], one in 65,536 in [1, 2^20].
          std::uint32_t exponent = 127 - 13 + bits[1] % 3;
          if (bits[0] % 64 == 0) exponent = 67 + bits[1] % 48;
          if (bits[0] % 65536 == 1) exponent = 127 + bits[1] % 21;
          *at = std::byte{static_cast<std::uint8_t>(exponent)};
          break;
        }
        case DType::kI64: {
          // Rows of distinct experts: consecutive ones from a random first.
          const std::uint64_t row = i / static_cast<std::uint64_t>(experts.second);
          const std::uint64_t first = philox({static_cast<std::uint32_t>(row), 9, 0, 0}, {seed_, 3})[0];
          const auto value = static_cast<std::int64_t>((first + i % static_cast<std::uint64_t>(experts.second)) %
                                                       static_cast<std::uint64_t>(experts.first));
          std::memcpy(at, &value, 8);
          break;
        }
        default:
          *at = std::byte{static_cast<std::uint8_t>(bits[0])};
      }
    }
  }

  std::uint32_t seed_;
  std::map<std::string, const formats::ExpectedTensor*, std::less<>> tensors_;
  std::map<DType, std::vector<std::byte>> pools_;
};

}  // namespace hadal::testing
