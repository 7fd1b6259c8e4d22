#include "engine/feed.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace hadal::engine {
namespace {

/// A wanted row of a step.
struct Row {
  std::size_t feed;
  std::int64_t position;
};

/// One step after the other over the same feeds; holds the buffers.
class Feeder {
 public:
  Feeder(model::Executor& executor, std::span<const Feed> feeds, const FeedOptions& options)
      : executor_(executor), feeds_(feeds), options_(options), fed_(feeds.size(), 0) {}

  /// False when everything is fed.
  [[nodiscard]] bool plan() {
    sequences_.clear();
    indices_.clear();
    rows_.clear();
    counts_.clear();
    const auto& limits = executor_.limits();
    auto unfinished = std::count_if(feeds_.begin(), feeds_.end(), [&](const Feed& feed) { return left(feed) > 0; });
    std::int64_t free = limits.max_rows;
    std::int64_t begin = 0;
    for (std::size_t f = 0; f < feeds_.size(); ++f) {
      if (left(feeds_[f]) == 0) continue;
      const std::int64_t share = free / unfinished--;  // at least one row each while limits allow it
      const std::int64_t count = add(f, begin, std::min({options_.chunk, left(feeds_[f]), share}));
      free -= count;
      begin += count;
    }
    return !sequences_.empty();
  }

  [[nodiscard]] Status step(const RowVisitor& visit) {
    HADAL_TRY(executor_.forward({.sequences = sequences_, .logits_rows = indices_}));
    const auto vocab = static_cast<std::size_t>(executor_.model().config().vocab_size);
    logits_.resize(rows_.size() * vocab);
    if (!rows_.empty()) HADAL_TRY(executor_.read(executor_.logits(), logits_));
    HADAL_TRY(executor_.commit(counts_));
    for (std::size_t f = 0, s = 0; f < feeds_.size() && s < sequences_.size(); ++f) {
      if (sequences_[s].state == feeds_[f].state) fed_[f] += counts_[s++];
    }
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      HADAL_TRY(visit(rows_[row].feed, rows_[row].position, std::span(logits_).subspan(row * vocab, vocab)));
    }
    return {};
  }

 private:
  [[nodiscard]] std::int64_t left(const Feed& feed) const {
    const auto index = static_cast<std::size_t>(&feed - feeds_.data());
    return static_cast<std::int64_t>(feed.tokens.size()) - fed_[index];
  }

  /// Adds up to `most` rows of a feed, less when the rows of logits are used up; returns their number.
  std::int64_t add(std::size_t f, std::int64_t begin, std::int64_t most) {
    const Feed& feed = feeds_[f];
    std::int64_t count = 0;
    for (; count < most; ++count) {
      const std::int64_t position = feed.state->length() + count;
      if (options_.wanted && !options_.wanted(f, position)) continue;
      if (static_cast<std::int64_t>(rows_.size()) == executor_.limits().max_logits_rows) break;
      rows_.push_back({f, position});
      indices_.push_back(static_cast<std::int32_t>(begin + count));
    }
    if (count == 0) return 0;
    sequences_.push_back(
        {.state = feed.state,
         .tokens = feed.tokens.subspan(static_cast<std::size_t>(fed_[f]), static_cast<std::size_t>(count))});
    counts_.push_back(count);
    return count;
  }

  model::Executor& executor_;
  std::span<const Feed> feeds_;
  const FeedOptions& options_;
  std::vector<std::int64_t> fed_;  // tokens of each feed
  std::vector<model::StepSequence> sequences_;
  std::vector<std::int32_t> indices_;
  std::vector<Row> rows_;
  std::vector<std::int64_t> counts_;
  std::vector<float> logits_;
};

}  // namespace

Status feed_all(model::Executor& executor, std::span<const Feed> feeds, const FeedOptions& options,
                const RowVisitor& visit, std::stop_token stop) {
  const auto& limits = executor.limits();
  if (static_cast<std::int64_t>(feeds.size()) > std::min(limits.max_sequences, limits.max_rows) ||
      limits.max_logits_rows < 1 || options.chunk < 1) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{} sequences are to be fed in steps of {} tokens, but the executor was made for {} "
                            "sequences and {} rows",
                            feeds.size(), options.chunk, limits.max_sequences, limits.max_rows));
  }
  Feeder feeder(executor, feeds, options);
  while (feeder.plan()) {
    if (stop.stop_requested()) return fail(ErrorCode::kCancelled, "cancelled");
    HADAL_TRY(feeder.step(visit));
  }
  return {};
}

}  // namespace hadal::engine
