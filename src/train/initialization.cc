#include "train/initialization.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <numeric>
#include <string_view>
#include <tuple>
#include <vector>

#include "base/check.h"
#include "base/fnv1a.h"
#include "base/philox.h"

namespace hadal::train {
namespace {

constexpr double kDeviation = 0.02;
constexpr float kGatingFactor = 0.01F;    // of hyper-connections: their outputs start near their biases
constexpr float kOwnStream = 4;           // logit of a stream's own place in the mixing matrix, about 0.95
constexpr std::int64_t kGrain = 1 << 14;  // numbers that a thread draws at least

bool ends_with_any(std::string_view name, std::initializer_list<std::string_view> ends) {
  return std::any_of(ends.begin(), ends.end(), [name](std::string_view end) { return name.ends_with(end); });
}

std::array<std::uint32_t, 2> halves(std::uint64_t value) {
  return {static_cast<std::uint32_t>(value), static_cast<std::uint32_t>(value >> 32)};
}

/// Two numbers of the standard normal distribution from 128 random bits (Box and Muller).
std::array<double, 2> normal_pair(const std::array<std::uint32_t, 4>& bits) {
  const auto unit = [](std::uint32_t high, std::uint32_t low) {
    const std::uint64_t word = (std::uint64_t{high} << 32 | low) >> 11;
    return (static_cast<double>(word) + 0.5) * 0x1p-53;  // never 0
  };
  const double radius = std::sqrt(-2 * std::log(unit(bits[0], bits[1])));
  const double angle = 2 * std::numbers::pi * unit(bits[2], bits[3]);
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

/// Adds N(0, deviation^2) to the values of a tensor.
void add_noise(std::span<float> values, std::string_view name, std::uint64_t seed, double deviation, ThreadPool& pool) {
  const auto key = halves(seed);
  const auto stream = halves(fnv1a(name));
  const auto pairs = static_cast<std::int64_t>((values.size() + 1) / 2);
  pool.parallel_for(pairs, kGrain, [&](std::int64_t begin, std::int64_t end, int /*worker*/) {
    for (std::int64_t pair = begin; pair < end; ++pair) {
      const auto index = halves(static_cast<std::uint64_t>(pair));
      const auto normal = normal_pair(philox({index[0], index[1], stream[0], stream[1]}, key));
      const auto first = static_cast<std::size_t>(2 * pair);
      values[first] += static_cast<float>(deviation * normal[0]);
      if (first + 1 < values.size()) values[first + 1] += static_cast<float>(deviation * normal[1]);
    }
  });
}

/// Biases of a hyper-connection site: pre 1 / n each, post 1, the mixing matrix near the identity.
void set_connection_base(std::span<float> base, std::int64_t streams, bool head) {
  const auto n = static_cast<std::size_t>(streams);
  const float pre = streams > 1 ? -std::log(static_cast<float>(streams - 1)) : 0;
  std::fill(base.begin(), base.end(), 0.0F);
  std::fill_n(base.begin(), n, pre);
  if (head) return;
  for (std::size_t stream = 0; stream < n; ++stream) base[2 * n + stream * n + stream] = kOwnStream;
}

void set_numbers(const Parameter& tensor, std::span<float> values, const formats::ModelConfig& config,
                 std::uint64_t seed, ThreadPool& pool) {
  const std::string_view name = tensor.name;
  std::fill(values.begin(), values.end(), 0.0F);
  if (ends_with_any(name, {"norm.weight"})) return std::fill(values.begin(), values.end(), 1.0F), void();
  if (ends_with_any(name, {"hc_attn_scale", "hc_ffn_scale", "hc_head_scale"})) {
    return std::fill(values.begin(), values.end(), kGatingFactor), void();
  }
  if (name.ends_with("hc_head_base")) return set_connection_base(values, config.hc_mult, true);
  if (ends_with_any(name, {"hc_attn_base", "hc_ffn_base"})) {
    set_connection_base(values, config.hc_mult, false);
    return add_noise(values, name, seed, kDeviation, pool);  // so that the streams are not alike
  }
  if (ends_with_any(name, {".attn_sink", ".ape", "gate.bias"})) return;
  const bool writes_streams = ends_with_any(name, {".wo_b.weight", ".w2.weight"});
  const double layers = static_cast<double>(config.num_hidden_layers);
  add_noise(values, name, seed, writes_streams ? kDeviation / std::sqrt(2 * layers) : kDeviation, pool);
}

/// `order`: tokens by falling count.
void set_token_experts(const Parameter& tensor, std::span<std::int64_t> table, std::int64_t experts, std::uint64_t seed,
                       std::span<const std::int64_t> order, std::span<const std::int64_t> token_counts) {
  const auto key = halves(seed);
  const auto stream = halves(fnv1a(tensor.name));
  const auto chosen = static_cast<std::size_t>(tensor.shape[1]);
  using Candidate = std::tuple<std::int64_t, std::uint32_t, std::int64_t>;  // load, lot, expert
  std::vector<std::int64_t> loads(static_cast<std::size_t>(experts));
  std::vector<Candidate> candidates(loads.size());
  for (const std::int64_t token : order) {
    for (std::int64_t expert = 0; expert < experts; ++expert) {
      const std::uint32_t lot =
          philox({static_cast<std::uint32_t>(token), static_cast<std::uint32_t>(expert), stream[0], stream[1]}, key)[0];
      candidates[static_cast<std::size_t>(expert)] = {loads[static_cast<std::size_t>(expert)], lot, expert};
    }
    std::partial_sort(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(chosen), candidates.end());
    // One more than the count, so that tokens that never occur are spread out too.
    const std::int64_t load = 1 + (token_counts.empty() ? 0 : token_counts[static_cast<std::size_t>(token)]);
    for (std::size_t slot = 0; slot < chosen; ++slot) {
      const std::int64_t expert = std::get<2>(candidates[slot]);
      table[static_cast<std::size_t>(token) * chosen + slot] = expert;
      loads[static_cast<std::size_t>(expert)] += load;
    }
  }
}

}  // namespace

void initialize(Parameters& parameters, std::uint64_t seed, std::span<const std::int64_t> token_counts,
                ThreadPool& pool) {
  const formats::ModelConfig& config = parameters.config();
  HADAL_CHECK(token_counts.empty() || static_cast<std::int64_t>(token_counts.size()) == config.vocab_size,
              "one count a token");
  std::vector<std::int64_t> order(static_cast<std::size_t>(config.vocab_size));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  if (!token_counts.empty()) {
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
      return token_counts[static_cast<std::size_t>(a)] > token_counts[static_cast<std::size_t>(b)];
    });
  }
  for (const Parameter& tensor : parameters.tensors()) {
    if (tensor.rule == UpdateRule::kConstant) {
      set_token_experts(tensor, parameters.constants(tensor), config.n_routed_experts, seed, order, token_counts);
    } else {
      set_numbers(tensor, parameters.master(tensor), config, seed, pool);
    }
  }
}

}  // namespace hadal::train
