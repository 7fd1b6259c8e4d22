#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <vector>

#include "base/philox.h"
#include "engine/draft_policy.h"
#include "engine/draft_schedule.h"
#include "engine/golden_file.h"
#include "engine/verify.h"

namespace hadal::engine {
namespace {

using hadal::testing::golden_path;
using hadal::testing::golden_values;

std::unique_ptr<formats::SafetensorsFile> dspark_file() {
  auto file = formats::SafetensorsFile::open(golden_path("tiny-dspark/exact.safetensors").value());
  EXPECT_TRUE(file) << file.error().message;
  return file ? std::move(*file) : nullptr;
}

std::vector<double> widened(const std::vector<float>& values) { return {values.begin(), values.end()}; }

TEST(RatioRule, ReproducesTheGoldenVectors) {
  constexpr std::size_t kDrafts = 5, kVocab = 12;
  const auto file = dspark_file();
  ASSERT_NE(file, nullptr);
  const auto target = widened(golden_values<float>(*file, "verify.target"));
  const auto draft = widened(golden_values<float>(*file, "verify.draft"));
  const auto drafts = golden_values<std::int64_t>(*file, "verify.drafts");
  const auto uniform_accept = widened(golden_values<float>(*file, "verify.uniform_accept"));
  const auto uniform_final = golden_values<float>(*file, "verify.uniform_final");
  const auto accepted = golden_values<std::int64_t>(*file, "verify.accepted");
  const auto distribution = golden_values<float>(*file, "verify.final_distribution");
  const auto final_token = golden_values<std::int64_t>(*file, "verify.final");
  ASSERT_EQ(accepted.size(), 64U);
  for (std::size_t i = 0; i < accepted.size(); ++i) {
    std::vector<double> from(kVocab);
    const RatioVerdict verdict =
        verify_ratio({.target = std::span(target).subspan(i * 6 * kVocab, 6 * kVocab),
                      .draft = std::span(draft).subspan(i * kDrafts * kVocab, kDrafts * kVocab),
                      .drafts = std::span(drafts).subspan(i * kDrafts, kDrafts),
                      .uniform_accept = std::span(uniform_accept).subspan(i * kDrafts, kDrafts),
                      .uniform_final = static_cast<double>(uniform_final[i])},
                     from);
    EXPECT_EQ(verdict.accepted, accepted[i]) << "case " << i;
    EXPECT_EQ(verdict.token, final_token[i]) << "case " << i;
    for (std::size_t v = 0; v < kVocab; ++v) {
      EXPECT_EQ(static_cast<float>(from[v]), distribution[i * kVocab + v]) << "case " << i << ", token " << v;
    }
  }
}

TEST(Schedule, ReproducesTheGoldenVectors) {
  constexpr std::size_t kRequests = 6, kBlock = 5;
  const auto file = dspark_file();
  ASSERT_NE(file, nullptr);
  const auto confidence = widened(golden_values<float>(*file, "schedule.confidence"));
  const auto a = golden_values<float>(*file, "schedule.step_cost_a");
  const auto b = golden_values<float>(*file, "schedule.step_cost_b");
  const auto expected = golden_values<std::int64_t>(*file, "schedule.lengths");
  ASSERT_EQ(a.size(), 24U);
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::vector<std::int64_t> lengths(kRequests);
    scheduled_lengths(
        std::span(confidence).subspan(i * kRequests * kBlock, kRequests * kBlock), kBlock,
        [&](std::int64_t n) {
          return 1000 / (static_cast<double>(a[i]) + static_cast<double>(b[i]) * static_cast<double>(n));
        },
        lengths);
    for (std::size_t r = 0; r < kRequests; ++r) {
      EXPECT_EQ(lengths[r], expected[i * kRequests + r]) << "case " << i << ", request " << r;
    }
  }
}

TEST(Schedule, BreaksTiesByRequestThenPosition) {
  // Room for exactly one draft more: a third row makes a step much slower.
  const auto speed = [](std::int64_t n) { return n <= 3 ? 1.0 : 0.1; };
  std::vector<std::int64_t> lengths(2);
  scheduled_lengths(std::vector<double>{0.5, 1.0, 0.5, 1.0}, 2, speed, lengths);
  EXPECT_EQ(lengths, (std::vector<std::int64_t>{1, 0}));
  // Equal survival within a request: the earlier position comes first, so a prefix is kept.
  const auto fast = [](std::int64_t n) { return n <= 4 ? 1.0 : 0.1; };
  scheduled_lengths(std::vector<double>{0.5, 1.0, 0.25, 1.0}, 2, fast, lengths);
  EXPECT_EQ(lengths, (std::vector<std::int64_t>{2, 0}));
}

TEST(ConfidentLength, EndsBeforeTheFirstUnsureDraft) {
  const std::vector<double> confidence{0.9, 0.5, 0.95};
  EXPECT_EQ(confident_length(confidence, 0), 3);
  EXPECT_EQ(confident_length(confidence, 0.5), 3);
  EXPECT_EQ(confident_length(confidence, 0.6), 1);
  EXPECT_EQ(confident_length(confidence, 0.91), 0);
}

double uniform(std::uint32_t trial, std::uint32_t what) {
  return (philox({trial, what, 0, 0}, {20250731, 5})[0] + 0.5) * 0x1p-32;
}

std::int64_t inverse(std::span<const double> p, double u) {
  double sum = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    if ((sum += p[i]) > u) return static_cast<std::int64_t>(i);
  }
  return static_cast<std::int64_t>(p.size()) - 1;
}

/// Chi-square statistic of the first token that leaves, over many trials of one draft from q verified against p.
/// `shared`: the noise that drew the draft also draws the residual, a mistake seen in public engines.
double first_token_chi_square(std::span<const double> p, std::span<const double> q, bool shared) {
  constexpr std::uint32_t kTrials = 40000;
  std::vector<double> counts(p.size());
  std::vector<double> target(p.begin(), p.end());
  target.insert(target.end(), p.begin(), p.end());
  std::vector<double> from(p.size());
  for (std::uint32_t trial = 0; trial < kTrials; ++trial) {
    const std::int64_t draft = inverse(q, uniform(trial, 0));
    const double accept = uniform(trial, 1);
    const RatioVerdict verdict = verify_ratio({.target = target,
                                               .draft = q,
                                               .drafts = {&draft, 1},
                                               .uniform_accept = {&accept, 1},
                                               .uniform_final = uniform(trial, shared ? 0 : 2)},
                                              from);
    counts[static_cast<std::size_t>(verdict.accepted > 0 ? draft : verdict.token)] += 1;
  }
  double chi = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    const double expected = p[i] * kTrials;
    chi += (counts[i] - expected) * (counts[i] - expected) / expected;
  }
  return chi;
}

TEST(RatioRule, IsLosslessAndSharedNoiseIsNot) {
  const std::vector<double> p{0.3, 0.05, 0.25, 0.1, 0.2, 0.1};
  const std::vector<double> q{0.05, 0.3, 0.1, 0.25, 0.1, 0.2};
  const std::vector<double> greedy{0, 0, 1, 0, 0, 0};
  constexpr double kOneInAMillion = 35.9;  // quantile of chi-square with 5 degrees of freedom
  EXPECT_LT(first_token_chi_square(p, q, false), kOneInAMillion);
  EXPECT_LT(first_token_chi_square(p, greedy, false), kOneInAMillion);
  EXPECT_GT(first_token_chi_square(p, q, true), 5 * kOneInAMillion);
}

TEST(RatioRule, DrawsFromTheTargetWhenTheResidualIsEmpty) {
  const std::vector<double> p{0.5, 0.5, 0, 0.5, 0.5, 0};
  const std::vector<double> q{0.5, 0.5, 0};
  const std::int64_t draft = 2;  // never drawn from q: a draft that the target refuses although p = q
  const double accept = 0.5;
  std::vector<double> from(3);
  const RatioVerdict verdict = verify_ratio(
      {.target = p, .draft = q, .drafts = {&draft, 1}, .uniform_accept = {&accept, 1}, .uniform_final = 0.75}, from);
  EXPECT_EQ(verdict.accepted, 0);
  EXPECT_EQ(verdict.token, 1);
  EXPECT_EQ(from, (std::vector<double>{0.5, 0.5, 0}));
}

// Plays a policy against a machine with fixed costs and an acceptance that is the same for every draft.
struct Machine {
  double plain = 1, draft = 0.1, row = 0.1, acceptance = 0.8;
  std::uint32_t steps = 0;

  void play(DraftPolicy& policy, int count) {
    for (int i = 0; i < count; ++i, ++steps) {
      const std::int64_t length = policy.length();
      if (length == 0) {
        policy.observe_plain(plain);
        continue;
      }
      std::int64_t accepted = 0;
      while (accepted < length && uniform(steps, static_cast<std::uint32_t>(accepted)) < acceptance) ++accepted;
      policy.observe_round(draft, plain + row * static_cast<double>(length), length, accepted);
    }
  }
};

TEST(DraftPolicy, FixedModesNeverChange) {
  DraftPolicy off(DraftMode::kOff, 5, true);
  DraftPolicy on(DraftMode::kOn, 5, true);
  DraftPolicy without(DraftMode::kAuto, 0, false);
  for (int i = 0; i < 300; ++i) {
    EXPECT_EQ(off.length(), 0);
    EXPECT_EQ(on.length(), 5);
    EXPECT_EQ(without.length(), 0);
    off.observe_plain(1);
    on.observe_round(9, 9, 5, 0);
    without.observe_plain(1);
  }
}

TEST(DraftPolicy, DraftsWhereItPays) {
  DraftPolicy policy(DraftMode::kAuto, 5, true);
  Machine machine;
  EXPECT_EQ(policy.length(), 0);
  machine.play(policy, DraftPolicy::kPlainSteps);
  EXPECT_EQ(policy.length(), 5);
  machine.play(policy, DraftPolicy::kTrialRounds);
  EXPECT_GE(policy.length(), 3);
}

TEST(DraftPolicy, ShortensWhereRowsAreDear) {
  DraftPolicy policy(DraftMode::kAuto, 5, true);
  Machine machine{.draft = 0.02, .row = 0.5, .acceptance = 0.85};
  machine.play(policy, DraftPolicy::kPlainSteps + DraftPolicy::kTrialRounds);
  // Tokens a second with 1 ... 5 drafts: 1.22, 1.27, 1.26, 1.23, 1.18.
  EXPECT_GE(policy.length(), 1);
  EXPECT_LE(policy.length(), 4);
}

TEST(DraftPolicy, PausesWhereItDoesNotPayAndTriesAgain) {
  DraftPolicy policy(DraftMode::kAuto, 5, true);
  Machine machine{.draft = 2, .row = 0.3, .acceptance = 0.2};
  machine.play(policy, DraftPolicy::kPlainSteps + DraftPolicy::kTrialRounds);
  EXPECT_EQ(policy.length(), 0);
  machine.play(policy, 2 * DraftPolicy::kFirstPause - 1);
  EXPECT_EQ(policy.length(), 0);
  machine.play(policy, 1);
  EXPECT_EQ(policy.length(), 5);  // the next trial, after a pause of twice the first length
  machine = {.plain = 1, .draft = 0.1, .row = 0.05, .acceptance = 0.95, .steps = machine.steps};
  machine.play(policy, DraftPolicy::kTrialRounds);
  for (int i = 0; i < 300; ++i) {
    EXPECT_GT(policy.length(), 0) << i;
    machine.play(policy, 1);
  }
}

}  // namespace
}  // namespace hadal::engine
