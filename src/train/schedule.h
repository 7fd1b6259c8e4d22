#pragma once

#include <cstdint>

namespace hadal::train {

/// Learning rate of a run: linear warm-up over steps, constant, then a fall over the last share of the tokens. The
/// values before the decay do not depend on the length of the run, so a run can be prolonged until its decay begins.
struct Schedule {
  double peak = 2e-3;
  double final = 2e-4;
  std::int64_t warmup_steps = 100;
  std::int64_t total_tokens = 0;
  double decay_share = 0.3;   // of total_tokens, at the end
  bool linear_decay = false;  // instead of half a cosine

  [[nodiscard]] std::int64_t decay_begin() const;  // tokens
  [[nodiscard]] bool decaying(std::int64_t tokens) const { return tokens >= decay_begin(); }
  /// Of the step with number `step` (from 0) that begins after `tokens` tokens.
  [[nodiscard]] double learning_rate(std::int64_t step, std::int64_t tokens) const;
};

}  // namespace hadal::train
