#include "train/balance.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"

namespace hadal::train {

void balance_biases(std::span<float> biases, std::span<const std::int64_t> loads, double speed) {
  HADAL_CHECK(biases.size() == loads.size(), "one load an expert");
  const auto count = static_cast<std::int64_t>(loads.size());
  const std::int64_t sum = std::accumulate(loads.begin(), loads.end(), std::int64_t{0});
  for (std::size_t expert = 0; expert < biases.size(); ++expert) {
    const std::int64_t missing = sum - count * loads[expert];  // count * (mean - load), exact
    if (missing > 0) biases[expert] += static_cast<float>(speed);
    if (missing < 0) biases[expert] -= static_cast<float>(speed);
  }
}

double load_imbalance(std::span<const std::int64_t> loads) {
  const std::int64_t sum = std::accumulate(loads.begin(), loads.end(), std::int64_t{0});
  if (sum == 0) return 1;
  const auto largest = static_cast<double>(*std::max_element(loads.begin(), loads.end()));
  return largest * static_cast<double>(loads.size()) / static_cast<double>(sum);
}

}  // namespace hadal::train
