#include "engine/verify.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"

namespace hadal::engine {
namespace {

/// First index whose running sum exceeds `uniform` times the total; the last one with weight if rounding hides it.
std::int64_t draw(std::span<const double> weights, double uniform) {
  const double threshold = uniform * std::accumulate(weights.begin(), weights.end(), 0.0);
  double sum = 0;
  std::int64_t last = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    sum += weights[i];
    if (sum > threshold) return static_cast<std::int64_t>(i);
    if (weights[i] > 0) last = static_cast<std::int64_t>(i);
  }
  return last;
}

}  // namespace

RatioVerdict verify_ratio(const RatioInput& input, std::span<double> final_distribution) {
  const std::size_t vocab = final_distribution.size();
  const std::size_t count = input.drafts.size();
  HADAL_CHECK(input.target.size() == (count + 1) * vocab && input.draft.size() == count * vocab &&
                  input.uniform_accept.size() == count,
              "the ratio rule takes one more target row than drafts");
  std::size_t accepted = 0;
  for (; accepted < count; ++accepted) {
    const std::size_t token = accepted * vocab + static_cast<std::size_t>(input.drafts[accepted]);
    if (!(input.uniform_accept[accepted] * input.draft[token] < input.target[token])) break;
  }
  const auto target = input.target.subspan(accepted * vocab, vocab);
  double total = 0;
  if (accepted < count) {
    const auto draft = input.draft.subspan(accepted * vocab, vocab);
    for (std::size_t i = 0; i < vocab; ++i) {
      final_distribution[i] = std::max(target[i] - draft[i], 0.0);
      total += final_distribution[i];
    }
  }
  if (total > 0) {
    for (double& probability : final_distribution) probability /= total;
  } else {  // nothing was rejected, or p = q up to rounding
    std::copy(target.begin(), target.end(), final_distribution.begin());
  }
  return {.accepted = static_cast<std::int64_t>(accepted), .token = draw(final_distribution, input.uniform_final)};
}

}  // namespace hadal::engine
