#include "engine/perplexity.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "engine/feed.h"
#include "engine/sampler.h"

namespace hadal::engine {

Result<Perplexity> measure_perplexity(model::Executor& executor, const text::Tokenizer* tokenizer,
                                      std::span<const std::int64_t> tokens, const PerplexityOptions& options,
                                      std::stop_token stop) {
  const auto count = static_cast<std::int64_t>(tokens.size());
  if (count < 2) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("the text has {} tokens, but the perplexity needs at least two", count));
  }
  const std::int64_t window = options.window;
  const std::int64_t stride = options.stride > 0 ? options.stride : std::max<std::int64_t>(1, window / 2);
  if (window < 2 || stride > window || options.stride < 0) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("a window of {} tokens that moves by {} does not reach every token; it must have at least "
                            "two and move by at most its length",
                            window, options.stride));
  }
  Perplexity result;
  Sampler sampler(executor.model().config().vocab_size);
  std::vector<TokenLogprob> logprob;
  std::int64_t measured = 1;  // tokens before this one are done; the first has nothing that predicts it
  for (std::int64_t begin = 0; measured < count; begin += stride) {
    const std::int64_t end = std::min(begin + window, count);
    HADAL_ASSIGN(model::SequenceState state, executor.pool().new_sequence());
    // The last token of the text predicts nothing; that of an inner window predicts the first one after it.
    const std::int64_t fed = end == count ? end - 1 - begin : end - begin;
    const Feed feed{.state = &state,
                    .tokens = tokens.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(fed))};
    const auto visit = [&](std::size_t, std::int64_t position, std::span<const float> logits) -> Status {
      const std::int64_t next = tokens[static_cast<std::size_t>(begin + position + 1)];
      HADAL_TRY(sampler.logprobs(logits, next, 0, logprob));
      result.bits -= logprob.front().logprob * 1.4426950408889634;  // 1 / ln 2
      ++result.tokens;
      if (tokenizer != nullptr) {
        result.bytes += static_cast<std::int64_t>(tokenizer->token_bytes(static_cast<std::int32_t>(next)).size());
      }
      measured = begin + position + 2;
      if (options.progress) options.progress(measured, count);
      return {};
    };
    const std::int64_t first = measured;
    HADAL_TRY(feed_all(executor, {&feed, 1},
                       {.chunk = options.chunk,
                        .wanted = [&](std::size_t, std::int64_t position) { return begin + position + 1 >= first; }},
                       visit, stop));
    ++result.windows;
  }
  return result;
}

}  // namespace hadal::engine
