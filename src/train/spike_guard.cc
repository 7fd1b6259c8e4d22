#include "train/spike_guard.h"

#include <cmath>

namespace hadal::train {

bool SpikeGuard::is_spike(double loss) const {
  const auto count = static_cast<double>(state_.losses.size());
  if (static_cast<std::int64_t>(state_.losses.size()) < options_.judged_from) return false;
  double sum = 0;
  for (const double past : state_.losses) sum += past;
  const double mean = sum / count;
  double squares = 0;
  for (const double past : state_.losses) squares += (past - mean) * (past - mean);
  return loss > mean + options_.deviations * std::sqrt(squares / count);
}

SpikeGuard::Verdict SpikeGuard::judge(std::int64_t step, double loss, bool finite_gradients) {
  if (std::isfinite(loss) && finite_gradients && !is_spike(loss)) {
    state_.losses.push_back(loss);
    if (static_cast<std::int64_t>(state_.losses.size()) > options_.window) state_.losses.pop_front();
    return Verdict::kApply;
  }
  ++state_.total_skipped;
  std::erase_if(state_.skipped, [&](std::int64_t past) { return past <= step - options_.within; });
  state_.skipped.push_back(step);
  if (static_cast<std::int64_t>(state_.skipped.size()) < options_.skips) return Verdict::kSkip;
  state_.skipped.clear();
  return Verdict::kGoBack;
}

}  // namespace hadal::train
