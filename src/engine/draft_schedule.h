#pragma once

#include <cstdint>
#include <functional>
#include <span>

namespace hadal::engine {

// How many drafts to verify. Both rules decide about a draft from what was known before it was drawn.

/// Static threshold: index of the first confidence (a probability) below `threshold`, else their number.
/// Source: spec/dspark.md 5.
[[nodiscard]] std::int64_t confident_length(std::span<const double> confidence, double threshold);

/// Steps a second of a batch of that many tokens.
using StepsPerSecond = std::function<double(std::int64_t tokens)>;

/// Hardware-aware scheduler. `confidence` [R, B]: estimates of P(draft i stands | all before it stand). Takes
/// (request, position) pairs by descending probability of survival (equal ones: lower request, then lower position) as
/// long as each raises the expected tokens a second; `lengths` [R] receives the drafts to verify of each request.
/// Source: DSpark paper, algorithm 1; spec/dspark.md 5.
void scheduled_lengths(std::span<const double> confidence, std::int64_t block_size, const StepsPerSecond& speed,
                       std::span<std::int64_t> lengths);

}  // namespace hadal::engine
