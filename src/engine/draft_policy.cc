#include "engine/draft_policy.h"

#include <fmt/format.h>

#include <algorithm>

namespace hadal::engine {
Result<DraftMode> draft_mode(std::string_view name) {
  if (name == "off") return DraftMode::kOff;
  if (name == "on") return DraftMode::kOn;
  if (name == "auto") return DraftMode::kAuto;
  return fail(ErrorCode::kInvalidArgument, fmt::format("draft mode '{}' is unknown; known are off, on, auto", name));
}

DraftPolicy::DraftPolicy(DraftMode mode, std::int64_t most, bool fixed_cost)
    : most_(most), fixed_cost_(fixed_cost), acceptance_(static_cast<std::size_t>(most)) {
  if (most == 0 || mode == DraftMode::kOff) return;
  if (mode == DraftMode::kOn) {
    length_ = most;
    return;
  }
  enter(Phase::kPlain);
}

void DraftPolicy::Average::add(double value) {
  constexpr std::int64_t kMemory = 16;
  count_ = std::min(count_ + 1, kMemory);
  mean_ += (value - mean_) / static_cast<double>(count_);
}

void DraftPolicy::enter(Phase phase) {
  phase_ = phase;
  steps_ = 0;
  if (phase == Phase::kPlain || phase == Phase::kPaused) length_ = 0;
  if (phase != Phase::kTrial) return;
  length_ = most_;
  draft_seconds_.age();
  row_seconds_.age();
  for (Average& acceptance : acceptance_) acceptance.age();
}

void DraftPolicy::observe_plain(double seconds) {
  if (phase_ == Phase::kFixed) return;
  plain_seconds_.add(seconds);
  ++steps_;
  if (phase_ == Phase::kPlain && steps_ >= kPlainSteps) enter(Phase::kTrial);
  if (phase_ == Phase::kPaused && steps_ >= pause_) enter(Phase::kTrial);
}

void DraftPolicy::observe_round(double draft_seconds, double verify_seconds, std::int64_t drafted,
                                std::int64_t accepted) {
  if (phase_ == Phase::kFixed) return;
  if (drafted > 0) {
    const auto count = static_cast<double>(drafted);
    draft_seconds_.add(fixed_cost_ ? draft_seconds : draft_seconds / count);
    row_seconds_.add(std::max(0.0, verify_seconds - plain_seconds_.mean()) / count);
    for (std::int64_t i = 0; i < drafted && i <= accepted; ++i) {
      acceptance_[static_cast<std::size_t>(i)].add(i < accepted ? 1 : 0);
    }
  }
  ++steps_;
  if (phase_ == Phase::kTrial && steps_ >= kTrialRounds) decide();
  if (phase_ == Phase::kDrafting && steps_ >= kReviewRounds) review();
}

void DraftPolicy::review() {
  if (++reviews_ % kPlainReviews == 0) {
    enter(Phase::kPlain);
  } else if (length_ < most_) {
    enter(Phase::kTrial);  // only full rounds tell about the later drafts
  } else {
    decide();
  }
}

double DraftPolicy::speed(std::int64_t length) const {
  if (length == 0) return 1 / plain_seconds_.mean();
  double tokens = 1;
  double survival = 1;
  for (std::int64_t i = 0; i < length; ++i) tokens += survival *= acceptance_[static_cast<std::size_t>(i)].mean();
  const auto count = static_cast<double>(length);
  return tokens /
         (plain_seconds_.mean() + draft_seconds_.mean() * (fixed_cost_ ? 1 : count) + row_seconds_.mean() * count);
}

void DraftPolicy::decide() {
  std::int64_t best = 1;
  for (std::int64_t length = 2; length <= most_; ++length) {
    if (speed(length) > speed(best)) best = length;
  }
  if (row_seconds_.known() && speed(best) > kLeastGain * speed(0)) {
    pause_ = kFirstPause;
    enter(Phase::kDrafting);
    length_ = best;
    return;
  }
  if (phase_ == Phase::kTrial) pause_ = std::min(2 * pause_, kLongestPause);
  enter(Phase::kPaused);
}

}  // namespace hadal::engine
