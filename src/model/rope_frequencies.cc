#include "model/rope_frequencies.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace hadal::model {

std::vector<float> rope_frequencies(std::int64_t rope_dim, double theta) {
  std::vector<float> frequencies;
  for (std::int64_t i = 0; i < rope_dim / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(rope_dim);
    const auto power = static_cast<float>(std::pow(theta, static_cast<double>(exponent)));
    frequencies.push_back(1.0F / power);
  }
  return frequencies;
}

std::vector<float> rope_frequencies(std::int64_t rope_dim, double theta,
                                    const formats::ModelConfig::RopeScaling& scaling) {
  std::vector<float> frequencies = rope_frequencies(rope_dim, theta);
  if (scaling.original_max_position_embeddings == 0) return frequencies;
  const auto channels = static_cast<double>(rope_dim);
  const auto original = static_cast<double>(scaling.original_max_position_embeddings);
  const auto correction = [&](double beta) {
    return channels * std::log(original / (beta * 2 * std::numbers::pi)) / (2 * std::log(theta));
  };
  const double low = std::max(std::floor(correction(scaling.beta_fast)), 0.0);
  double high = std::min(std::ceil(correction(scaling.beta_slow)), channels - 1);
  if (low == high) high += 0.001;
  const auto factor = static_cast<float>(scaling.factor);
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const float ramp = (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low);
    const float smooth = 1.0F - std::clamp(ramp, 0.0F, 1.0F);
    frequencies[i] = frequencies[i] / factor * (1.0F - smooth) + frequencies[i] * smooth;
  }
  return frequencies;
}

}  // namespace hadal::model
