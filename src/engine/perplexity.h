#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <span>
#include <stop_token>
#include <vector>

#include "base/result.h"
#include "model/executor.h"
#include "text/tokenizer.h"

namespace hadal::engine {

/// A stretch of a text that is fed to an empty sequence: the logits at its position p predict token begin + p + 1.
struct TextWindow {
  std::int64_t begin = 0;
  std::int64_t fed = 0;             // tokens
  std::int64_t first_measured = 0;  // token; from it to begin + fed the tokens are measured in this window
};

/// The windows that measure each of `tokens` tokens but the first once: in the first window that reaches it, so after
/// at least window - stride tokens from the second window on. `stride` 0: half a window. Errors: kInvalidArgument
/// (fewer than two tokens, a stride beyond the window).
[[nodiscard]] Result<std::vector<TextWindow>> text_windows(std::int64_t tokens, std::int64_t window,
                                                           std::int64_t stride);

struct PerplexityOptions {
  std::int64_t window = 4096;  // tokens fed together; at most the executor's max_tokens
  std::int64_t stride = 0;     // tokens from one window to the next; 0: half a window
  std::int64_t chunk = 512;
  std::function<void(std::int64_t done, std::int64_t total)> progress{};
};

/// Sums over the measured tokens t: all but the first of each text.
struct Perplexity {
  std::int64_t tokens = 0;
  std::int64_t bytes = 0;  // of those tokens' text; 0 without a tokenizer
  std::int64_t windows = 0;
  double bits = 0;  // sum of -log2 p(t | tokens before it in the window)

  Perplexity& operator+=(const Perplexity& other);

  [[nodiscard]] double bits_per_token() const { return bits / static_cast<double>(tokens); }
  [[nodiscard]] double bits_per_byte() const { return bits / static_cast<double>(bytes); }
  [[nodiscard]] double tokens_per_byte() const { return static_cast<double>(tokens) / static_cast<double>(bytes); }
  [[nodiscard]] double perplexity() const { return std::exp2(bits_per_token()); }
};

/// Measures each token but the first in its window of text_windows(). Sums in double in the order of the tokens. A
/// document is given as `bos text`: bos is not predicted, and the cost of an eos behind it does not count. Errors:
/// those of text_windows(), kCancelled, those of the executor.
[[nodiscard]] Result<Perplexity> measure_perplexity(model::Executor& executor, const text::Tokenizer* tokenizer,
                                                    std::span<const std::int64_t> tokens,
                                                    const PerplexityOptions& options, std::stop_token stop = {});

}  // namespace hadal::engine
