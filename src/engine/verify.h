#pragma once

#include <cstdint>
#include <span>

namespace hadal::engine {

/// Verdict of the ratio rule, the other way to verify drafts beside the coupled rule (Sequence::absorb): what was
/// accepted, and the token after it. docs/design/drafting.md.
struct RatioVerdict {
  std::int64_t accepted = 0;
  std::int64_t token = 0;
};

/// Inputs of the ratio rule for `n` drafts over a vocabulary of V. Draft i was drawn from draft row i (one-hot for a
/// greedy drafter). The uniforms in [0, 1) must be independent of each other and of the noise that drew the drafts:
/// sharing it biases the output (the coupled rule is the one that shares).
struct RatioInput {
  std::span<const double> target;          // [n + 1, V] probabilities after all processing
  std::span<const double> draft;           // [n, V]
  std::span<const std::int64_t> drafts;    // [n]
  std::span<const double> uniform_accept;  // [n]
  double uniform_final = 0;
};

/// Accepts draft i iff u_i q_i(draft_i) < p_i(draft_i); the first rejection draws from max(p_i - q_i, 0), normalised
/// (from p_i when that is 0 everywhere); when all stand, the token is drawn from p_n. A draw is the first index whose
/// running sum (ascending ids) exceeds uniform_final times the total. `final_distribution` [V] receives what was drawn
/// from. Source: spec/dspark.md 4.
[[nodiscard]] RatioVerdict verify_ratio(const RatioInput& input, std::span<double> final_distribution);

}  // namespace hadal::engine
