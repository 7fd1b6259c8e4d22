#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <stop_token>

#include "base/result.h"
#include "model/executor.h"

namespace hadal::engine {

/// Tokens to feed to one sequence, after what its state holds.
struct Feed {
  model::SequenceState* state = nullptr;
  std::span<const std::int64_t> tokens;
};

struct FeedOptions {
  std::int64_t chunk = 512;  // most tokens of a sequence in one step
  /// Whether the logits of `position` (absolute) of feed number `feed` are wanted; empty: of all.
  std::function<bool(std::size_t feed, std::int64_t position)> wanted{};
};

/// Receives the logits [vocab_size] of one wanted row; positions of a feed come in order.
using RowVisitor = std::function<Status(std::size_t feed, std::int64_t position, std::span<const float> logits)>;

/// Feeds several sequences of different lengths in the same steps until all are fed, and commits everything. Steps are
/// as large as chunk and the executor's limits allow. Errors: of the executor and the visitor, kInvalidArgument (more
/// sequences than the executor takes), kCancelled (stopped between two steps).
[[nodiscard]] Status feed_all(model::Executor& executor, std::span<const Feed> feeds, const FeedOptions& options,
                              const RowVisitor& visit, std::stop_token stop = {});

}  // namespace hadal::engine
