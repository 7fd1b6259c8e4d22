#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "formats/model_config.h"
#include "formats/tensor_table.h"

namespace hadal::formats {

/// Random weights that keep activations sane: linear weights of standard deviation near 1 / sqrt(inputs), norms near 1,
/// distinct experts a token. Every value is a function of seed, tensor name and position, so tensors may be made in any
/// order, in pieces and by many threads. FP8 tiles and FP4 blocks differ in magnitude, so a scale at the wrong place
/// shows. Thread-safe.
class RandomWeights {
 public:
  RandomWeights(const ModelConfig& config, std::uint64_t seed);

  /// Pieces begin at multiples of this many bytes.
  static constexpr std::int64_t kPiece = 4096;

  /// The bytes [begin, begin + out.size()) of the tensor; `begin` a multiple of kPiece.
  void fill(const ExpectedTensor& tensor, std::int64_t begin, std::span<std::byte> out) const;

 private:
  struct Distribution {
    float mean = 0;
    float deviation = 1;
  };
  [[nodiscard]] static Distribution distribution(const ExpectedTensor& tensor);
  [[nodiscard]] std::array<std::uint32_t, 4> bits(std::uint64_t tensor, std::int64_t block) const;
  void fill_expert_ids(std::uint64_t tensor, std::int64_t begin, std::span<std::byte> out) const;
  void fill_codes(const ExpectedTensor& tensor, std::uint64_t key, std::int64_t begin, std::span<std::byte> out) const;
  void fill_numbers(const ExpectedTensor& tensor, std::uint64_t key, std::int64_t begin,
                    std::span<std::byte> out) const;

  ModelConfig config_;
  std::uint64_t seed_;
  std::vector<float> normal_;                 // quantiles of the standard normal distribution
  std::array<std::uint8_t, 256> e4m3_codes_;  // the same as FP8 codes, of deviation kCodeDeviation
};

}  // namespace hadal::formats
