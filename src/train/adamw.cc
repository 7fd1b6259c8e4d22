#include "train/adamw.h"

#include <cmath>

namespace hadal::train {
namespace {

/// The factors of one step, rounded once.
struct Factors {
  float beta1, rest1, beta2, rest2;  // rest: 1 - beta
  float correction1, correction2;    // 1 / (1 - beta^k)
  float epsilon, rate, keep, scale;  // keep: 1 - lr decay
};

void update(std::span<float> weights, std::span<const float> gradients, float* m, float* v, const Factors& f) {
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const float gradient = gradients[i] * f.scale;
    m[i] = f.beta1 * m[i] + f.rest1 * gradient;
    v[i] = f.beta2 * v[i] + f.rest2 * (gradient * gradient);
    const float denominator = std::sqrt(v[i] * f.correction2) + f.epsilon;
    // A weight that never had a gradient stays as it is, also with epsilon 0.
    const float direction = denominator > 0 ? m[i] * f.correction1 / denominator : 0.0F;
    weights[i] = weights[i] * f.keep - f.rate * direction;
  }
}

}  // namespace

AdamW::AdamW(Parameters& parameters, const Options& options)
    : parameters_(parameters), options_(options), pieces_(pieces_of(parameters.tensors(), [](const Parameter& tensor) {
        return tensor.rule == UpdateRule::kAdam || tensor.rule == UpdateRule::kAdamDecay;
      })) {
  std::int64_t count = 0;
  for (const TensorPiece& piece : pieces_) {
    offsets_.push_back(count);
    count += piece.count;
  }
  first_moments_.resize(static_cast<std::size_t>(count));
  second_moments_.resize(static_cast<std::size_t>(count));
}

void AdamW::step(double learning_rate, double gradient_scale, ThreadPool& pool) {
  ++steps_;
  const auto k = static_cast<double>(steps_);
  const Factors common{.beta1 = static_cast<float>(options_.beta1),
                       .rest1 = static_cast<float>(1 - options_.beta1),
                       .beta2 = static_cast<float>(options_.beta2),
                       .rest2 = static_cast<float>(1 - options_.beta2),
                       .correction1 = static_cast<float>(1 / (1 - std::pow(options_.beta1, k))),
                       .correction2 = static_cast<float>(1 / (1 - std::pow(options_.beta2, k))),
                       .epsilon = static_cast<float>(options_.epsilon),
                       .rate = static_cast<float>(learning_rate),
                       .keep = 1,
                       .scale = 1};
  const auto update_pieces = [&](std::int64_t begin, std::int64_t end, int /*worker*/) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
      const TensorPiece& piece = pieces_[i];
      Factors factors = common;
      if (!piece.tensor->indexer) factors.scale = static_cast<float>(gradient_scale);
      if (piece.tensor->rule == UpdateRule::kAdamDecay) {
        factors.keep = static_cast<float>(1 - learning_rate * options_.weight_decay);
      }
      const auto first = static_cast<std::size_t>(piece.begin);
      const auto count = static_cast<std::size_t>(piece.count);
      update(parameters_.master(*piece.tensor).subspan(first, count),
             parameters_.gradient(*piece.tensor).subspan(first, count), first_moments_.data() + offsets_[i],
             second_moments_.data() + offsets_[i], factors);
    }
  };
  pool.parallel_for(static_cast<std::int64_t>(pieces_.size()), 1, update_pieces);
}

}  // namespace hadal::train
