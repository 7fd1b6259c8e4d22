#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "engine/sampling_options.h"
#include "engine/token_history.h"

namespace hadal::engine {

/// A token with the natural logarithm of its probability.
struct TokenLogprob {
  std::int64_t token = 0;
  double logprob = 0;
};

/// Which tokens may be chosen at all.
struct ChoiceLimits {
  std::span<const std::int64_t> banned{};    // ids
  std::span<const std::uint64_t> allowed{};  // a bit for each token; empty: all
};

/// Chooses tokens from rows of logits, in double. Every order is fixed: sums run over ascending ids (over the ranking
/// where top_k is set), rankings are by score descending and then by id ascending, NaN counts as the smallest value.
/// So a choice depends on logits, options, history and position alone. A draw is Gumbel-max: the kept token with the
/// largest score + noise of its own (ChoiceNoise), which lets a drafter with the same noise agree as often as its
/// distribution allows. Holds working memory of the size of the vocabulary; no allocation after construction. One
/// thread at a time.
class Sampler {
 public:
  explicit Sampler(std::int64_t vocab_size);

  /// The token at absolute position `position` (that of the row plus one). `logits` [vocab_size], `options` checked.
  /// Errors: kInternal when no token has a number above minus infinity.
  [[nodiscard]] Result<std::int64_t> choose(std::span<const float> logits, const SamplingOptions& options,
                                            const TokenHistory& history, std::int64_t position,
                                            const ChoiceLimits& limits = {});

  /// The distribution that choose() draws from, [vocab_size] into `out`; one-hot when greedy. Errors as choose().
  [[nodiscard]] Status distribution(std::span<const float> logits, const SamplingOptions& options,
                                    const TokenHistory& history, std::span<double> out);

  /// Logarithms of the softmax of the logits as they are (before penalties and temperature): of `chosen` into
  /// `out[0]`, then the `count` best tokens in ranking order (the chosen one may be among them again). Errors as
  /// choose().
  [[nodiscard]] Status logprobs(std::span<const float> logits, std::int64_t chosen, std::int64_t count,
                                std::vector<TokenLogprob>& out);

  /// The same logarithms of all tokens, [vocab_size] into `out`. Errors as choose().
  [[nodiscard]] Status log_softmax(std::span<const float> logits, std::span<double> out);

 private:
  /// ln sum exp(scores_).
  [[nodiscard]] double normaliser() const;
  void load(std::span<const float> logits);
  [[nodiscard]] Status adjust(std::span<const float> logits, const SamplingOptions& options,
                              const TokenHistory& history, const ChoiceLimits& limits);
  void keep(const SamplingOptions& options);
  /// Makes the first `count` entries of ranking_ the best tokens in order; the scores have not changed since load().
  void rank(std::size_t count);
  [[nodiscard]] std::size_t top_p_count(std::size_t available, double top_p, bool limited);
  [[nodiscard]] std::int64_t best() const;
  [[nodiscard]] std::int64_t draw(const SamplingOptions& options, std::int64_t position) const;

  std::vector<double> scores_;         // [vocab_size] adjusted logits; minus infinity: not to be chosen
  double best_score_ = 0;              // the largest of them
  std::vector<std::int32_t> ranking_;  // [vocab_size] ids, the first ranked_ of them in order
  std::size_t ranked_ = 0;
  bool all_kept_ = true;  // every token with a score of at least least_score_ is kept
  double least_score_ = 0;
  std::vector<std::int32_t> kept_;  // else these ids, ascending
};

}  // namespace hadal::engine
