#include "engine/perplexity.h"

#include <fmt/format.h>

#include <algorithm>
#include <numbers>

#include "engine/feed.h"
#include "engine/sampler.h"

namespace hadal::engine {

Result<std::vector<TextWindow>> text_windows(std::int64_t tokens, std::int64_t window, std::int64_t stride) {
  if (tokens < 2) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("the text has {} tokens, but to measure it at least two are needed", tokens));
  }
  const std::int64_t step = stride == 0 ? std::max<std::int64_t>(1, window / 2) : stride;
  if (window < 2 || step > window || step < 1) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("a window of {} tokens that moves by {} does not reach every token; it must have at least "
                            "two and move by at most its length",
                            window, stride));
  }
  std::vector<TextWindow> windows;
  std::int64_t measured = 1;  // tokens before this one are done; the first has nothing that predicts it
  for (std::int64_t begin = 0; measured < tokens; begin += step) {
    // The last token of the text predicts nothing; that of an inner window predicts the first one after it.
    const std::int64_t fed = std::min(window, tokens - 1 - begin);
    windows.push_back({.begin = begin, .fed = fed, .first_measured = measured});
    measured = begin + fed + 1;
  }
  return windows;
}

Perplexity& Perplexity::operator+=(const Perplexity& other) {
  tokens += other.tokens;
  bytes += other.bytes;
  windows += other.windows;
  bits += other.bits;
  return *this;
}

Result<Perplexity> measure_perplexity(model::Executor& executor, const text::Tokenizer* tokenizer,
                                      std::span<const std::int64_t> tokens, const PerplexityOptions& options,
                                      std::stop_token stop) {
  const auto count = static_cast<std::int64_t>(tokens.size());
  HADAL_ASSIGN(const std::vector<TextWindow> windows, text_windows(count, options.window, options.stride));
  Perplexity result;
  Sampler sampler(executor.model().config().vocab_size);
  std::vector<TokenLogprob> logprob;
  for (const TextWindow& window : windows) {
    HADAL_ASSIGN(model::SequenceState state, executor.pool().new_sequence());
    const Feed feed{
        .state = &state,
        .tokens = tokens.subspan(static_cast<std::size_t>(window.begin), static_cast<std::size_t>(window.fed))};
    const auto visit = [&](std::size_t, std::int64_t position, std::span<const float> logits) -> Status {
      const std::int64_t at = window.begin + position + 1;
      const std::int64_t next = tokens[static_cast<std::size_t>(at)];
      HADAL_TRY(sampler.logprobs(logits, next, 0, logprob));
      result.bits -= logprob.front().logprob * std::numbers::log2e;
      ++result.tokens;
      if (tokenizer != nullptr) {
        result.bytes += static_cast<std::int64_t>(tokenizer->token_bytes(static_cast<std::int32_t>(next)).size());
      }
      if (options.progress) options.progress(at + 1, count);
      return {};
    };
    const auto wanted = [&](std::size_t, std::int64_t position) {
      return window.begin + position + 1 >= window.first_measured;
    };
    HADAL_TRY(feed_all(executor, {&feed, 1}, {.chunk = options.chunk, .wanted = wanted}, visit, stop));
    ++result.windows;
  }
  return result;
}

}  // namespace hadal::engine
