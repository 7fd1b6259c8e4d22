#include "engine/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/check.h"
#include "engine/choice_noise.h"

namespace hadal::engine {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();
constexpr double kForced = std::numeric_limits<double>::infinity();

std::size_t at(std::int64_t index) { return static_cast<std::size_t>(index); }

double ordered(float logit) { return std::isnan(logit) ? kNever : static_cast<double>(logit); }

Error nothing_to_choose() {
  return {ErrorCode::kInternal,
          "the logits of a step are all NaN or minus infinity, so no token can be chosen; the checkpoint's weights are "
          "damaged or beyond the range of this numerics profile"};
}

/// -log(-log1p(-u)): a standard Gumbel variate, exact to the last bits where it is large (u near 0).
double gumbel(double u) { return -std::log(-std::log1p(-u)); }

/// An upper bound of gumbel(u) from the exponent of u alone; the slack covers the rounding of both logarithms.
double gumbel_bound(double u) {
  const int exponent = static_cast<int>(std::bit_cast<std::uint64_t>(u) >> 52) - 1023;
  return -static_cast<double>(exponent) * 0.69314718055994531 + 1e-6;
}

/// The largest score plus noise seen so far.
struct Race {
  double best = kNever;
  std::int64_t token = -1;

  void enter(std::int64_t candidate, double score, double u) {
    if (score + gumbel_bound(u) < best) return;  // spares nearly all tokens two logarithms
    const double value = score + gumbel(u);
    if (value > best || (value == best && candidate < token)) {
      best = value;
      token = candidate;
    }
  }
};

}  // namespace

Sampler::Sampler(std::int64_t vocab_size) : scores_(at(vocab_size)), ranking_(at(vocab_size)) {
  kept_.reserve(at(vocab_size));
}

void Sampler::load(std::span<const float> logits) {
  HADAL_CHECK(logits.size() == scores_.size(), "a row of logits has one value for each token of the vocabulary");
  std::transform(logits.begin(), logits.end(), scores_.begin(), ordered);
  ranked_ = 0;
  best_score_ = *std::max_element(scores_.begin(), scores_.end());
  if (best_score_ != kForced) return;
  for (double& score : scores_) score = score == kForced ? 0 : kNever;  // the limit of the softmax: equal shares
  best_score_ = 0;
}

Status Sampler::adjust(std::span<const float> logits, const SamplingOptions& options, const TokenHistory& history,
                       const ChoiceLimits& limits) {
  load(logits);
  for (const LogitBias& entry : options.logit_bias) scores_[at(entry.token)] += entry.bias;
  for (const std::int64_t token : limits.banned) scores_[at(token)] = kNever;
  if (!limits.allowed.empty()) {
    for (std::size_t token = 0; token < scores_.size(); ++token) {
      if ((limits.allowed[token / 64] >> (token % 64) & 1) == 0) scores_[token] = kNever;
    }
  }
  if (options.penalises()) {
    for (const std::int64_t token : history.touched()) {
      double& score = scores_[at(token)];
      if (history.contains(token)) {
        score = score > 0 ? score / options.repetition_penalty : score * options.repetition_penalty;
      }
      if (const auto count = static_cast<double>(history.answer_count(token)); count > 0) {
        score -= options.presence_penalty + count * options.frequency_penalty;
      }
    }
  }
  if (options.penalises() || !options.logit_bias.empty() || !limits.banned.empty() || !limits.allowed.empty()) {
    best_score_ = *std::max_element(scores_.begin(), scores_.end());
  }
  if (best_score_ == kNever) return tl::unexpected<Error>(nothing_to_choose());
  if (options.temperature > 0) {
    // Distances from the best one are divided, so that no temperature overflows.
    for (double& score : scores_) score = (score - best_score_) / options.temperature;
    best_score_ = 0;
  }
  return {};
}

std::int64_t Sampler::best() const {
  return std::max_element(scores_.begin(), scores_.end()) - scores_.begin();  // the first of equals: the lowest id
}

void Sampler::rank(std::size_t count) {
  if (count <= ranked_) return;
  if (ranked_ == 0) std::iota(ranking_.begin(), ranking_.end(), 0);
  const auto before = [this](std::int32_t a, std::int32_t b) {
    const double left = scores_[at(a)];
    const double right = scores_[at(b)];
    return left != right ? left > right : a < b;
  };
  // What is sorted already comes before everything else, so only the rest is looked at.
  const auto begin = ranking_.begin() + static_cast<std::ptrdiff_t>(ranked_);
  const auto end = ranking_.begin() + static_cast<std::ptrdiff_t>(count);
  constexpr std::size_t kFew = 256;
  if (count - ranked_ <= kFew) {
    std::partial_sort(begin, end, ranking_.end(), before);
  } else {
    if (end != ranking_.end()) std::nth_element(begin, end, ranking_.end(), before);
    std::sort(begin, end, before);
  }
  ranked_ = count;
}

std::size_t Sampler::top_p_count(std::size_t available, double top_p, bool limited) {
  const auto weight = [this](std::int32_t token) { return std::exp(scores_[at(token)]); };
  double total = 0;
  if (limited) {
    for (std::size_t i = 0; i < available; ++i) total += weight(ranking_[i]);
  } else {
    for (const double score : scores_) total += std::exp(score);
  }
  // Ranked as far as needed: mostly a few tokens hold the share.
  constexpr std::size_t kFirst = 64;
  double sum = 0;
  for (std::size_t i = 0; i < available; ++i) {
    if (i == ranked_) rank(std::min(available, std::max(kFirst, 4 * ranked_)));
    sum += weight(ranking_[i]);
    if (sum >= top_p * total) return i + 1;
  }
  return available;
}

void Sampler::keep(const SamplingOptions& options) {
  least_score_ = options.min_p > 0 ? std::log(options.min_p) : std::numeric_limits<double>::lowest();
  std::size_t count = scores_.size();
  const bool limited = options.top_k > 0 && options.top_k < static_cast<std::int64_t>(count);
  if (limited) {
    count = at(options.top_k);
    rank(count);
  }
  if (options.top_p < 1) count = top_p_count(count, options.top_p, limited);
  all_kept_ = !limited && options.top_p >= 1;
  kept_.clear();
  if (all_kept_) return;
  for (std::size_t i = 0; i < count; ++i) {
    if (scores_[at(ranking_[i])] >= least_score_) kept_.push_back(ranking_[i]);
  }
  std::sort(kept_.begin(), kept_.end());
}

std::int64_t Sampler::draw(const SamplingOptions& options, std::int64_t position) const {
  const ChoiceNoise noise(options.seed, options.choice, position);
  Race race;
  if (!all_kept_) {
    for (const std::int32_t token : kept_) race.enter(token, scores_[at(token)], noise.token(token));
    return race.token;
  }
  const std::int64_t likely = best();  // first, so that the bound rules out the others soon
  race.enter(likely, scores_[at(likely)], noise.token(likely));
  constexpr double kLargestGumbel = 65 * 0.69314718055994531 + 1e-6;
  const auto size = static_cast<std::int64_t>(scores_.size());
  for (std::int64_t first = 0; first < size; first += 2) {
    const std::int64_t end = std::min(first + 2, size);
    const double highest = std::max(scores_[at(first)], scores_[at(end - 1)]);
    if (highest < least_score_ || highest + kLargestGumbel < race.best) continue;
    const auto u = noise.pair(first / 2);
    for (std::int64_t token = first; token < end; ++token) {
      if (scores_[at(token)] >= least_score_) race.enter(token, scores_[at(token)], u[at(token - first)]);
    }
  }
  return race.token;
}

Result<std::int64_t> Sampler::choose(std::span<const float> logits, const SamplingOptions& options,
                                     const TokenHistory& history, std::int64_t position, const ChoiceLimits& limits) {
  HADAL_TRY(adjust(logits, options, history, limits));
  if (options.greedy()) return best();
  keep(options);
  return draw(options, position);
}

Status Sampler::distribution(std::span<const float> logits, const SamplingOptions& options, const TokenHistory& history,
                             std::span<double> out) {
  HADAL_CHECK(out.size() == scores_.size(), "a distribution has one value for each token of the vocabulary");
  HADAL_TRY(adjust(logits, options, history, {}));
  std::fill(out.begin(), out.end(), 0.0);
  if (options.greedy()) {
    out[at(best())] = 1;
    return {};
  }
  keep(options);
  if (all_kept_) {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = scores_[i] >= least_score_ ? std::exp(scores_[i]) : 0;
  } else {
    for (const std::int32_t token : kept_) out[at(token)] = std::exp(scores_[at(token)]);
  }
  const double total = std::accumulate(out.begin(), out.end(), 0.0);
  for (double& probability : out) probability /= total;
  return {};
}

Status Sampler::logprobs(std::span<const float> logits, std::int64_t chosen, std::int64_t count,
                         std::vector<TokenLogprob>& out) {
  load(logits);
  if (best_score_ == kNever) return tl::unexpected<Error>(nothing_to_choose());
  const double sum = normaliser();
  const auto best_count = std::min(at(count), scores_.size());
  out.clear();
  out.push_back({chosen, scores_[at(chosen)] - sum});
  if (best_count == 0) return {};
  rank(best_count);
  for (std::size_t i = 0; i < best_count; ++i) {
    out.push_back({ranking_[i], scores_[at(ranking_[i])] - sum});
  }
  return {};
}

Status Sampler::log_softmax(std::span<const float> logits, std::span<double> out) {
  load(logits);
  if (best_score_ == kNever) return tl::unexpected<Error>(nothing_to_choose());
  const double sum = normaliser();
  for (std::size_t i = 0; i < scores_.size(); ++i) out[i] = scores_[i] - sum;
  return {};
}

double Sampler::normaliser() const {
  double total = 0;
  for (const double score : scores_) total += std::exp(score - best_score_);
  return best_score_ + std::log(total);
}

}  // namespace hadal::engine
