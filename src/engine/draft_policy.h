#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"

namespace hadal::engine {

enum class DraftMode : std::uint8_t { kOff, kOn, kAuto };

/// "off", "on", "auto". Errors: kInvalidArgument.
[[nodiscard]] Result<DraftMode> draft_mode(std::string_view name);

/// Decides how many tokens one sequence drafts in its next round. Mode kOn: always the most. Mode kAuto: measures plain
/// steps, tries rounds, goes on with the length that promises most tokens a second, pauses while drafting does not pay
/// and tries again later, after longer and longer pauses. Measured time decides about speed only: by the coupled rule
/// the tokens are the same.
class DraftPolicy {
 public:
  /// `most`: tokens that a round can draft; 0: no drafter. `fixed_cost`: a round drafts all of them at once (DSpark),
  /// so that its drafting time does not depend on the length.
  DraftPolicy(DraftMode mode, std::int64_t most, bool fixed_cost);

  /// Drafts of the next round; 0: a plain step.
  [[nodiscard]] std::int64_t length() const { return length_; }

  /// A step without drafts took that long.
  void observe_plain(double seconds);
  /// A round drafted `drafted` tokens (those that were verified) in `draft_seconds`, verified them in `verify_seconds`
  /// and accepted the first `accepted` of them.
  void observe_round(double draft_seconds, double verify_seconds, std::int64_t drafted, std::int64_t accepted);

  static constexpr std::int64_t kPlainSteps = 4;     // measured before a trial
  static constexpr std::int64_t kTrialRounds = 8;    // of full length
  static constexpr std::int64_t kReviewRounds = 32;  // between decisions while drafting
  static constexpr std::int64_t kPlainReviews = 16;  // every so many of them measures plain steps again
  static constexpr std::int64_t kFirstPause = 64;    // plain steps; doubles with each trial that fails
  static constexpr std::int64_t kLongestPause = 4096;
  static constexpr double kLeastGain = 1.03;  // rounds must be that much faster than plain steps

 private:
  enum class Phase : std::uint8_t { kFixed, kPlain, kTrial, kDrafting, kPaused };

  /// The mean of the first values, then a moving average.
  class Average {
   public:
    void add(double value);
    /// The mean so far weighs like one value from now on: what was long ago counts little in a new trial.
    void age() { count_ = count_ > 0 ? 1 : 0; }
    [[nodiscard]] double mean() const { return mean_; }
    [[nodiscard]] bool known() const { return count_ > 0; }

   private:
    double mean_ = 0;
    std::int64_t count_ = 0;
  };

  void enter(Phase phase);
  void decide();
  void review();
  /// Tokens a second of rounds of `length` drafts by the present estimates; 0: of plain steps.
  [[nodiscard]] double speed(std::int64_t length) const;

  std::int64_t most_;
  bool fixed_cost_;
  Phase phase_ = Phase::kFixed;
  std::int64_t length_ = 0;
  std::int64_t steps_ = 0;  // in this phase
  std::int64_t pause_ = kFirstPause;
  std::int64_t reviews_ = 0;
  Average plain_seconds_;            // of a plain step
  Average draft_seconds_;            // of drafting: of a round (fixed cost) or of one draft
  Average row_seconds_;              // of verifying one draft more
  std::vector<Average> acceptance_;  // [most] P(draft i stands | all before it stand)
};

}  // namespace hadal::engine
