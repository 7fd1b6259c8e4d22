#pragma once

#include <cstdint>
#include <span>

#include "base/thread_pool.h"
#include "train/parameters.h"

namespace hadal::train {

/// Masters of a model that has learned nothing (spec/training.md 2.7): matrices, embedding and head N(0, 0.02^2), what
/// writes into the streams (wo_b, w2) divided by sqrt(2 L), norms 1, sinks and position biases 0, hyper-connections
/// near "each stream keeps to itself". Every number is a function of (seed, tensor name, index) alone.
/// tid2eid (spec/training.md 2.4): tokens by falling count, each to the num_experts_per_tok experts with the smallest
/// sum of counts so far. `token_counts` [vocab_size]: how often a token occurs in the training text; empty: all equal.
void initialize(Parameters& parameters, std::uint64_t seed, std::span<const std::int64_t> token_counts,
                ThreadPool& pool);

}  // namespace hadal::train
