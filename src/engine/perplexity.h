#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <span>
#include <stop_token>

#include "base/result.h"
#include "model/executor.h"
#include "text/tokenizer.h"

namespace hadal::engine {

struct PerplexityOptions {
  std::int64_t window = 4096;  // tokens fed together; at most the executor's max_tokens
  std::int64_t stride = 0;     // tokens from one window to the next; 0: half a window
  std::int64_t chunk = 512;
  std::function<void(std::int64_t done, std::int64_t total)> progress{};
};

/// Sums over the measured tokens: all but the first.
struct Perplexity {
  std::int64_t tokens = 0;
  std::int64_t bytes = 0;  // of those tokens' text; 0 without a tokenizer
  std::int64_t windows = 0;
  double bits = 0;  // -log2 of their probabilities

  [[nodiscard]] double bits_per_token() const { return bits / static_cast<double>(tokens); }
  [[nodiscard]] double bits_per_byte() const { return bits / static_cast<double>(bytes); }
  [[nodiscard]] double perplexity() const { return std::exp2(bits_per_token()); }
};

/// Measures each token once: in the first window that reaches it, so after at least window - stride tokens from the
/// second window on. Sums in double in the order of the tokens. Errors: kInvalidArgument (fewer than two tokens, a
/// stride beyond the window), kCancelled, those of the executor.
[[nodiscard]] Result<Perplexity> measure_perplexity(model::Executor& executor, const text::Tokenizer* tokenizer,
                                                    std::span<const std::int64_t> tokens,
                                                    const PerplexityOptions& options, std::stop_token stop = {});

}  // namespace hadal::engine
