#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace hadal::train {

std::int64_t Schedule::decay_begin() const {
  return total_tokens - std::llround(decay_share * static_cast<double>(total_tokens));
}

double Schedule::learning_rate(std::int64_t step, std::int64_t tokens) const {
  double rate = peak;
  if (decaying(tokens)) {
    const auto length = static_cast<double>(std::max<std::int64_t>(total_tokens - decay_begin(), 1));
    const double done = std::min(static_cast<double>(tokens - decay_begin()) / length, 1.0);
    const double left = linear_decay ? 1 - done : 0.5 * (1 + std::cos(std::numbers::pi * done));
    rate = final + (peak - final) * left;
  }
  if (step < warmup_steps) rate *= static_cast<double>(step + 1) / static_cast<double>(warmup_steps);
  return rate;
}

}  // namespace hadal::train
