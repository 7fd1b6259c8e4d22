#include "formats/random_weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <string_view>

#include "base/check.h"
#include "base/fnv1a.h"
#include "base/philox.h"
#include "tensor/scalar.h"
#include "tensor/scale_blocks.h"

namespace hadal::formats {
namespace {

constexpr int kQuantileBits = 12;
constexpr float kCodeDeviation = 64;          // of FP8 codes: the largest, 3.5 deviations, stays below 448
constexpr float kFp4Deviation = 2.92617498F;  // of 16 equally likely E2M1 codes

/// x with P(N(0,1) < x) = p, by bisection.
double normal_quantile(double p) {
  double low = -9;
  double high = 9;
  for (int step = 0; step < 60; ++step) {
    const double middle = (low + high) / 2;
    (0.5 * std::erfc(-middle / std::numbers::sqrt2) < p ? low : high) = middle;
  }
  return (low + high) / 2;
}

std::vector<float> normal_quantiles(std::size_t count) {
  std::vector<float> table(count);
  for (std::size_t i = 0; i < count; ++i) {
    table[i] = static_cast<float>(normal_quantile((static_cast<double>(i) + 0.5) / static_cast<double>(count)));
  }
  return table;
}

bool ends_with_any(std::string_view name, std::initializer_list<std::string_view> ends) {
  return std::any_of(ends.begin(), ends.end(), [name](std::string_view end) { return name.ends_with(end); });
}

/// 16 random bits out of 128.
std::uint32_t half_word(const std::array<std::uint32_t, 4>& words, std::size_t index) {
  return words[index / 2] >> (index % 2 * 16) & 0xFFFFU;
}

std::uint8_t byte_of(const std::array<std::uint32_t, 4>& words, std::size_t index) {
  return static_cast<std::uint8_t>(words[index / 4] >> (index % 4 * 8));
}

/// The scale that gives a weight's codes a deviation of 1 / sqrt(inputs).
float scale_near(const ExpectedTensor& tensor) {
  const bool fp4 = tensor.role == TensorRole::kFp4Scale;
  const auto inputs = static_cast<float>(tensor.shape[1] * (fp4 ? kFp4Block : kFp8Tile));
  return 1 / (std::sqrt(inputs) * (fp4 ? kFp4Deviation : kCodeDeviation));
}

}  // namespace

RandomWeights::RandomWeights(const ModelConfig& config, std::uint64_t seed)
    : config_(config), seed_(seed), normal_(normal_quantiles(std::size_t{1} << kQuantileBits)), e4m3_codes_{} {
  const std::vector<float> coarse = normal_quantiles(e4m3_codes_.size());
  for (std::size_t i = 0; i < coarse.size(); ++i) e4m3_codes_[i] = f32_to_e4m3(coarse[i] * kCodeDeviation);
}

std::array<std::uint32_t, 4> RandomWeights::bits(std::uint64_t tensor, std::int64_t block) const {
  const auto counter = static_cast<std::uint64_t>(block);
  return philox({static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32),
                 static_cast<std::uint32_t>(tensor), static_cast<std::uint32_t>(tensor >> 32)},
                {static_cast<std::uint32_t>(seed_), static_cast<std::uint32_t>(seed_ >> 32)});
}

RandomWeights::Distribution RandomWeights::distribution(const ExpectedTensor& tensor) {
  const std::string_view name = tensor.name;
  const auto spread = [&](double gain) {
    return static_cast<float>(gain / std::sqrt(static_cast<double>(tensor.shape[tensor.shape.rank() - 1])));
  };
  if (ends_with_any(name, {"norm.weight"})) return {1, 0.1F};
  if (ends_with_any(name, {"hc_attn_scale", "hc_ffn_scale", "hc_head_scale"})) return {1, 0.1F};
  if (ends_with_any(name, {"hc_attn_base", "hc_ffn_base", "hc_head_base", ".ape"})) return {0, 0.5F};
  if (name.ends_with(".attn_sink")) return {0, 1};
  if (name.ends_with("gate.bias")) return {0, 0.1F};
  if (ends_with_any(name, {"embed.weight", "markov_w1.weight"})) return {0, 1};
  if (ends_with_any(name, {"head.weight"})) return {0, spread(2)};  // logits of deviation 2
  return {0, spread(1)};
}

void RandomWeights::fill_expert_ids(std::uint64_t tensor, std::int64_t begin, std::span<std::byte> out) const {
  // Each row is drawn as a whole: of its own stream, K distinct numbers by rejecting those already there.
  const std::int64_t per_token = config_.num_experts_per_tok;
  std::vector<std::int64_t> row(static_cast<std::size_t>(per_token));
  std::int64_t drawn = -1;  // the token whose row is in `row`
  for (std::size_t at = 0; at < out.size(); at += 8) {
    const std::int64_t index = (begin + static_cast<std::int64_t>(at)) / 8;
    const std::int64_t token = index / per_token;
    if (token != drawn) {
      drawn = token;
      std::int64_t block = token << 24;  // far more blocks than rejections can use up
      for (std::size_t slot = 0; slot < row.size();) {
        const auto random = bits(tensor, block++)[0];
        const auto expert = static_cast<std::int64_t>(
            std::uint64_t{random} * static_cast<std::uint64_t>(config_.n_routed_experts) >> 32);
        const auto end = row.begin() + static_cast<std::ptrdiff_t>(slot);
        if (std::find(row.begin(), end, expert) == end) row[slot++] = expert;
      }
    }
    std::memcpy(out.data() + at, &row[static_cast<std::size_t>(index % per_token)], 8);
  }
}

void RandomWeights::fill_codes(const ExpectedTensor& tensor, std::uint64_t key, std::int64_t begin,
                               std::span<std::byte> out) const {
  const int exponent =
      tensor.type == DType::kE8m0 ? static_cast<int>(std::lround(std::log2(scale_near(tensor)))) + 127 : 0;
  for (std::size_t at = 0; at < out.size(); at += 16) {
    const auto random = bits(key, (begin + static_cast<std::int64_t>(at)) / 16);
    for (std::size_t i = 0; i < 16 && at + i < out.size(); ++i) {
      std::uint8_t code = byte_of(random, i);  // a pair of FP4 codes as it is
      if (tensor.type == DType::kE4m3) code = e4m3_codes_[code];
      if (tensor.type == DType::kE8m0) code = static_cast<std::uint8_t>(exponent - (code & 1));
      out[at + i] = std::byte{code};
    }
  }
}

void RandomWeights::fill_numbers(const ExpectedTensor& tensor, std::uint64_t key, std::int64_t begin,
                                 std::span<std::byte> out) const {
  constexpr std::int64_t kBlock = 8;  // numbers from 128 random bits
  const bool scale = tensor.role == TensorRole::kFp8Scale;
  const float unit = scale ? scale_near(tensor) : 0;
  const Distribution normal = distribution(tensor);
  const auto size = static_cast<std::size_t>(size_of(tensor.type));
  const std::int64_t first = begin / size_of(tensor.type);
  std::array<std::uint32_t, 4> random{};
  for (std::size_t i = 0; i < out.size() / size; ++i) {
    const std::int64_t index = first + static_cast<std::int64_t>(i);
    if (i == 0 || index % kBlock == 0) random = bits(key, index / kBlock);
    const std::uint32_t word = half_word(random, static_cast<std::size_t>(index % kBlock));
    const float value = scale ? unit * (0.75F + static_cast<float>(word) * 0x1p-17F)
                              : normal.mean + normal.deviation * normal_[word >> (16 - kQuantileBits)];
    if (tensor.type == DType::kBf16) {
      const bf16 rounded = to_bf16(value);
      std::memcpy(out.data() + i * size, &rounded, size);
    } else {
      std::memcpy(out.data() + i * size, &value, size);
    }
  }
}

void RandomWeights::fill(const ExpectedTensor& tensor, std::int64_t begin, std::span<std::byte> out) const {
  HADAL_CHECK(begin % kPiece == 0, "pieces begin at multiples of kPiece");
  const std::uint64_t key = fnv1a(tensor.name);
  if (tensor.type == DType::kI64) return fill_expert_ids(key, begin, out);
  if (size_of(tensor.type) == 1) return fill_codes(tensor, key, begin, out);
  fill_numbers(tensor, key, begin, out);
}

}  // namespace hadal::formats
