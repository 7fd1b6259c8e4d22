#pragma once

#include <cstdint>
#include <deque>
#include <vector>

namespace hadal::train {

/// Keeps steps that would harm the model from being applied (spec/training.md 2.6): those whose loss is not finite or
/// lies more than `deviations` standard deviations above the mean of the last `window` applied ones, and those with a
/// gradient that is not finite. Too many of them soon after each other: back to the last checkpoint.
class SpikeGuard {
 public:
  struct Options {
    std::int64_t window = 200;      // applied steps whose losses are remembered
    std::int64_t judged_from = 50;  // applied steps before the first loss is judged
    double deviations = 6;
    std::int64_t skips = 3;     // that many skipped steps among
    std::int64_t within = 100;  // this many: go back
  };
  enum class Verdict : std::uint8_t { kApply, kSkip, kGoBack };

  /// What the next verdict depends on.
  struct State {
    std::deque<double> losses;          // of the last applied steps
    std::vector<std::int64_t> skipped;  // steps left out, of those that still count
    std::int64_t total_skipped = 0;
    bool operator==(const State&) const = default;
  };

  explicit SpikeGuard(const Options& options) : options_(options) {}

  [[nodiscard]] Verdict judge(std::int64_t step, double loss, bool finite_gradients);
  [[nodiscard]] const State& state() const { return state_; }
  void restore(State state) { state_ = std::move(state); }

 private:
  [[nodiscard]] bool is_spike(double loss) const;

  Options options_;
  State state_;
};

}  // namespace hadal::train
