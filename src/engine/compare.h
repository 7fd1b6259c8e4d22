#pragma once

#include <cstdint>
#include <span>
#include <stop_token>

#include "base/result.h"
#include "engine/perplexity.h"
#include "model/executor.h"
#include "text/tokenizer.h"

namespace hadal::engine {

/// How far the predictions q of a second model are from those of a first one, p: sums over predicted tokens, in double.
struct Divergence {
  std::int64_t tokens = 0;
  std::int64_t agreements = 0;  // the likeliest tokens are the same
  double nats = 0;              // sum of sum_v p_v ln(p_v / q_v)
  double largest = 0;           // of one token

  Divergence& operator+=(const Divergence& other);
  [[nodiscard]] double mean() const { return nats / static_cast<double>(tokens); }
  [[nodiscard]] double agreement() const { return static_cast<double>(agreements) / static_cast<double>(tokens); }
};

/// Both models on the windows of text_windows(tokens), as measure_perplexity() measures them. Errors: kInvalidArgument
/// (vocabularies of different sizes), those of measure_perplexity().
[[nodiscard]] Result<Divergence> compare_models(model::Executor& first, model::Executor& second,
                                                std::span<const std::int64_t> tokens, const PerplexityOptions& options,
                                                std::stop_token stop = {});

/// Whether every id stands for the same bytes in both.
[[nodiscard]] bool same_vocabulary(const text::Tokenizer& a, const text::Tokenizer& b);

}  // namespace hadal::engine
