#include "engine/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/feed.h"
#include "engine/sampler.h"

namespace hadal::engine {
namespace {

/// One token's sum_v p_v ln(p_v / q_v), from the logarithms, v ascending.
double divergence(std::span<const double> p, std::span<const double> q) {
  double sum = 0;
  for (std::size_t v = 0; v < p.size(); ++v) {
    const double probability = std::exp(p[v]);
    if (probability > 0) sum += probability * (p[v] - q[v]);
  }
  return sum;
}

std::ptrdiff_t likeliest(std::span<const double> logprobs) {
  return std::max_element(logprobs.begin(), logprobs.end()) - logprobs.begin();
}

/// Both models in one window: the first computes the rows of a piece, then the second is compared with them.
class Comparison {
 public:
  Comparison(model::Executor& first, model::Executor& second, const PerplexityOptions& options, std::stop_token stop)
      : first_(first),
        second_(second),
        options_(options),
        stop_(std::move(stop)),
        vocab_(static_cast<std::size_t>(first.model().config().vocab_size)),
        piece_(std::min({options.chunk, first.limits().max_logits_rows, second.limits().max_logits_rows})),
        sampler_(first.model().config().vocab_size),
        rows_(static_cast<std::size_t>(piece_) * vocab_),
        row_(vocab_) {}

  Status window(const TextWindow& window, std::span<const std::int64_t> tokens, Divergence& sums) {
    HADAL_ASSIGN(model::SequenceState p, first_.pool().new_sequence());
    HADAL_ASSIGN(model::SequenceState q, second_.pool().new_sequence());
    const auto count = static_cast<std::int64_t>(tokens.size());
    for (std::int64_t begin = 0; begin < window.fed; begin += piece_) {
      const std::int64_t length = std::min(piece_, window.fed - begin);
      const auto part =
          tokens.subspan(static_cast<std::size_t>(window.begin + begin), static_cast<std::size_t>(length));
      const FeedOptions feeding{.chunk = options_.chunk, .wanted = [&](std::size_t, std::int64_t position) {
                                  return window.begin + position + 1 >= window.first_measured;
                                }};
      const Feed first{.state = &p, .tokens = part};
      const auto keep = [&](std::size_t, std::int64_t position, std::span<const float> logits) {
        return sampler_.log_softmax(logits, kept(position - begin));
      };
      HADAL_TRY(feed_all(first_, {&first, 1}, feeding, keep, stop_));
      const Feed second{.state = &q, .tokens = part};
      const auto compare = [&](std::size_t, std::int64_t position, std::span<const float> logits) -> Status {
        HADAL_TRY(sampler_.log_softmax(logits, row_));
        add(kept(position - begin), sums);
        if (options_.progress) options_.progress(window.begin + position + 2, count);
        return {};
      };
      HADAL_TRY(feed_all(second_, {&second, 1}, feeding, compare, stop_));
    }
    return {};
  }

 private:
  [[nodiscard]] std::span<double> kept(std::int64_t row) {
    return std::span(rows_).subspan(static_cast<std::size_t>(row) * vocab_, vocab_);
  }

  void add(std::span<const double> p, Divergence& sums) {
    const double nats = divergence(p, row_);
    sums += {.tokens = 1, .agreements = likeliest(p) == likeliest(row_) ? 1 : 0, .nats = nats, .largest = nats};
  }

  model::Executor& first_;
  model::Executor& second_;
  const PerplexityOptions& options_;
  std::stop_token stop_;
  std::size_t vocab_;
  std::int64_t piece_;  // tokens
  Sampler sampler_;
  std::vector<double> rows_;  // [piece, vocab_size] logarithms of the first model's probabilities
  std::vector<double> row_;   // [vocab_size] of the second model's
};

}  // namespace

Divergence& Divergence::operator+=(const Divergence& other) {
  tokens += other.tokens;
  agreements += other.agreements;
  nats += other.nats;
  largest = std::max(largest, other.largest);
  return *this;
}

Result<Divergence> compare_models(model::Executor& first, model::Executor& second, std::span<const std::int64_t> tokens,
                                  const PerplexityOptions& options, std::stop_token stop) {
  const std::int64_t vocab = first.model().config().vocab_size;
  if (second.model().config().vocab_size != vocab) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("one model has a vocabulary of {} tokens and the other one of {}; only models with the "
                            "same vocabulary can be compared",
                            vocab, second.model().config().vocab_size));
  }
  HADAL_ASSIGN(const std::vector<TextWindow> windows,
               text_windows(static_cast<std::int64_t>(tokens.size()), options.window, options.stride));
  Comparison comparison(first, second, options, std::move(stop));
  Divergence sums;
  for (const TextWindow& window : windows) HADAL_TRY(comparison.window(window, tokens, sums));
  return sums;
}

bool same_vocabulary(const text::Tokenizer& a, const text::Tokenizer& b) {
  if (a.vocab_size() != b.vocab_size()) return false;
  for (std::int64_t id = 0; id < a.vocab_size(); ++id) {
    const auto token = static_cast<std::int32_t>(id);
    if (a.has(token) != b.has(token) || a.token_bytes(token) != b.token_bytes(token)) return false;
  }
  return true;
}

}  // namespace hadal::engine
