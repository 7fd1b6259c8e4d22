#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "base/philox.h"
#include "engine/choice_noise.h"
#include "testing/allocation_counter.h"

namespace hadal::engine {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// Logits of a normal distribution with deviation 1.5.
std::vector<float> random_logits(std::size_t vocab, std::uint32_t seed) {
  std::vector<float> logits(vocab);
  for (std::size_t i = 0; i < vocab; ++i) {
    const auto words = philox({static_cast<std::uint32_t>(i), seed, 1, 2}, {3, 4});
    const double u = (words[0] + 0.5) * 0x1p-32;
    logits[i] = static_cast<float>(1.5 * std::sqrt(-2 * std::log(u)) * std::cos(6.2831853 * words[1] * 0x1p-32));
  }
  return logits;
}

std::int64_t choose(const std::vector<float>& logits, const SamplingOptions& options = {}, std::int64_t position = 0) {
  Sampler sampler(static_cast<std::int64_t>(logits.size()));
  const TokenHistory history(static_cast<std::int64_t>(logits.size()));
  const auto token = sampler.choose(logits, options, history, position);
  EXPECT_TRUE(token);
  return token ? *token : -1;
}

std::vector<double> distribution(const std::vector<float>& logits, const SamplingOptions& options,
                                 const TokenHistory& history) {
  Sampler sampler(static_cast<std::int64_t>(logits.size()));
  std::vector<double> out(logits.size());
  EXPECT_TRUE(sampler.distribution(logits, options, history, out));
  return out;
}

std::vector<double> distribution(const std::vector<float>& logits, const SamplingOptions& options) {
  return distribution(logits, options, TokenHistory(static_cast<std::int64_t>(logits.size())));
}

TEST(Greedy, TakesTheLowestIdOfEquals) {
  EXPECT_EQ(choose({1, 3, 2, 3}), 1);
  EXPECT_EQ(choose({-kInfinity, -5, -kInfinity}), 1);
  EXPECT_EQ(choose({kNan, -5, kNan, -4}), 3);
  EXPECT_EQ(choose({1, kInfinity, kNan, kInfinity}), 1);
  EXPECT_EQ(choose({0.0F, -0.0F}), 0);
  EXPECT_EQ(choose({-0.0F, 0.0F}), 0);
}

TEST(Sampler, RefusesARowWithoutAnyNumber) {
  Sampler sampler(2);
  const TokenHistory history(2);
  for (const double temperature : {0.0, 1.0}) {
    for (const std::vector<float>& logits : {std::vector{kNan, kNan}, std::vector{-kInfinity, kNan}}) {
      const auto token = sampler.choose(logits, {.temperature = temperature}, history, 0);
      ASSERT_FALSE(token);
      EXPECT_EQ(token.error().code, ErrorCode::kInternal);
      EXPECT_NE(token.error().message.find("NaN"), std::string::npos);
    }
  }
}

TEST(Sampler, InfiniteLogitsShareTheProbability) {
  EXPECT_EQ(distribution({1, kInfinity, kNan, kInfinity}, {.temperature = 0.5}), (std::vector<double>{0, 0.5, 0, 0.5}));
}

TEST(Sampler, DistributionIsTheTemperedSoftmax) {
  const auto p = distribution({1, 2, 0}, {.temperature = 0.5});
  const double total = std::exp(2.0) + std::exp(4.0) + 1;
  EXPECT_NEAR(p[0], std::exp(2.0) / total, 1e-15);
  EXPECT_NEAR(p[1], std::exp(4.0) / total, 1e-15);
  EXPECT_NEAR(p[2], 1 / total, 1e-15);
}

TEST(Sampler, TinyTemperatureIsGreedy) {
  const std::vector<float> logits{3e38F, 2.9e38F, -3e38F};
  EXPECT_EQ(distribution(logits, {.temperature = 1e-6}), (std::vector{1.0, 0.0, 0.0}));
}

TEST(Sampler, TopKKeepsTheLowerIdsOfEquals) {
  const auto p = distribution({1, 2, 1, 1, 2}, {.temperature = 1, .top_k = 3});
  EXPECT_GT(p[0], 0);
  EXPECT_EQ(p[2], 0);
  EXPECT_EQ(p[3], 0);
  EXPECT_NEAR(std::accumulate(p.begin(), p.end(), 0.0), 1, 1e-15);
}

TEST(Sampler, TopPKeepsTheFewestThatHoldTheShare) {
  const auto log_of = [](double p) { return static_cast<float>(std::log(p)); };
  const std::vector<float> logits{log_of(0.1), log_of(0.5), log_of(0.15), log_of(0.25)};
  const auto kept = [&](double top_p, std::int64_t top_k) {
    const auto p = distribution(logits, {.temperature = 1, .top_k = top_k, .top_p = top_p});
    return std::count_if(p.begin(), p.end(), [](double value) { return value > 0; });
  };
  EXPECT_EQ(kept(0.4, 0), 1);
  EXPECT_EQ(kept(0.51, 0), 2);
  EXPECT_EQ(kept(0.76, 0), 3);
  EXPECT_EQ(kept(0.95, 0), 4);
  // Of the two best, 0.5 and 0.25, the first holds two thirds.
  EXPECT_EQ(kept(0.6, 2), 1);
  EXPECT_EQ(kept(0.7, 2), 2);
}

TEST(Sampler, TopPOverManyEqualTokensKeepsTheLowestIds) {
  const std::vector<float> logits(10000, 0.5F);
  const auto p = distribution(logits, {.temperature = 1, .top_p = 0.25});
  EXPECT_EQ(std::count_if(p.begin(), p.end(), [](double value) { return value > 0; }), 2500);
  EXPECT_GT(p[2499], 0);
  EXPECT_EQ(p[2500], 0);
}

TEST(Sampler, MinPIsRelativeToTheBest) {
  const auto log_of = [](double p) { return static_cast<float>(std::log(p)); };
  const auto p = distribution({log_of(0.6), log_of(0.3), log_of(0.1)}, {.temperature = 1, .min_p = 0.4});
  EXPECT_NEAR(p[0], 2.0 / 3, 1e-6);
  EXPECT_NEAR(p[1], 1.0 / 3, 1e-6);
  EXPECT_EQ(p[2], 0);
}

TEST(Sampler, PenaltiesFollowTheHistory) {
  TokenHistory history(5);
  const std::vector<std::int64_t> prompt{0, 1};
  history.start(prompt);
  history.add(1);
  history.add(2);
  history.add(2);
  history.add(4);
  history.remove(4);
  const SamplingOptions options{
      .temperature = 1, .repetition_penalty = 2, .presence_penalty = 0.5, .frequency_penalty = 0.25};
  const auto p = distribution({4, 4, -1, 4, 4}, options, history);
  const std::vector<double> adjusted{2, 2 - 0.75, -2 - 1, 4, 4};
  double total = 0;
  for (const double score : adjusted) total += std::exp(score);
  for (std::size_t i = 0; i < 5; ++i) EXPECT_NEAR(p[i], std::exp(adjusted[i]) / total, 1e-15) << i;
}

TEST(Sampler, DrawsFollowTheDistribution) {
  constexpr int kDraws = 40000;
  const auto logits = random_logits(200, 7);
  for (const SamplingOptions& base :
       {SamplingOptions{.temperature = 1}, SamplingOptions{.temperature = 1.7, .min_p = 0.02},
        SamplingOptions{.temperature = 1, .top_k = 12}, SamplingOptions{.temperature = 0.8, .top_p = 0.9}}) {
    Sampler sampler(200);
    const TokenHistory history(200);
    const auto p = distribution(logits, base);
    std::vector<double> counts(200);
    for (int i = 0; i < kDraws; ++i) {
      const auto token = sampler.choose(logits, base, history, i);
      ASSERT_TRUE(token);
      counts[static_cast<std::size_t>(*token)] += 1;
    }
    // Cells below 5 expected draws are joined; the bound is 6 standard deviations of the chi-square statistic.
    double chi = 0, cells = 0, rest_expected = 0, rest_count = 0;
    for (std::size_t v = 0; v < 200; ++v) {
      const double expected = p[v] * kDraws;
      if (expected == 0) {
        EXPECT_EQ(counts[v], 0);
      }
      if (expected < 5) {
        rest_expected += expected;
        rest_count += counts[v];
        continue;
      }
      chi += (counts[v] - expected) * (counts[v] - expected) / expected;
      cells += 1;
    }
    if (rest_expected > 5) chi += (rest_count - rest_expected) * (rest_count - rest_expected) / rest_expected;
    EXPECT_GT(cells, 5);
    EXPECT_LT(chi, cells + 6 * std::sqrt(2 * cells));
  }
}

TEST(Sampler, ADrawIsTheLargestScorePlusNoise) {
  // The plain rule without any short cut, over all tokens.
  const auto logits = random_logits(3001, 11);
  for (std::int64_t position = 0; position < 200; ++position) {
    const SamplingOptions options{.temperature = 0.9, .seed = 0x123456789ABCULL, .choice = 2};
    const ChoiceNoise noise(options.seed, options.choice, position);
    std::int64_t expected = -1;
    double best = 0;
    for (std::int64_t token = 0; token < 3001; ++token) {
      const double value = static_cast<double>(logits[static_cast<std::size_t>(token)]) / 0.9 -
                           std::log(-std::log1p(-noise.token(token)));
      if (expected < 0 || value > best) {
        expected = token;
        best = value;
      }
    }
    EXPECT_EQ(choose(logits, options, position), expected) << position;
  }
}

TEST(Sampler, NoiseDependsOnSeedChoiceAndPositionAlone) {
  const std::vector<float> flat(5000, 0.0F);
  const SamplingOptions options{.temperature = 1, .seed = 5};
  EXPECT_EQ(choose(flat, options, 17), choose(flat, options, 17));
  SamplingOptions other = options;
  other.seed = 6;
  EXPECT_NE(choose(flat, options, 17), choose(flat, other, 17));
  other = options;
  other.seed = options.seed | std::uint64_t{1} << 40;
  EXPECT_NE(choose(flat, options, 17), choose(flat, other, 17));
  other = options;
  other.choice = 1;
  EXPECT_NE(choose(flat, options, 17), choose(flat, other, 17));
  EXPECT_NE(choose(flat, options, 17), choose(flat, options, 18));
  EXPECT_NE(choose(flat, options, 17), choose(flat, options, 17 + (std::int64_t{1} << 32)));
}

TEST(Sampler, SharedNoiseAgreesNearlyAsOftenAsTheRatioRule) {
  // Two similar distributions, as of a model and its drafter: agreement lies in [(1 - d) / (1 + d), 1 - d] with d the
  // total variation distance.
  constexpr int kDraws = 4000;
  const auto target = random_logits(300, 21);
  auto draft = target;
  const auto other = random_logits(300, 22);
  for (std::size_t i = 0; i < draft.size(); ++i) draft[i] += 0.4F * other[i];
  const SamplingOptions options{.temperature = 1};
  const auto p = distribution(target, options);
  const auto q = distribution(draft, options);
  double distance = 0;
  for (std::size_t i = 0; i < p.size(); ++i) distance += 0.5 * std::abs(p[i] - q[i]);
  int equal = 0;
  for (int i = 0; i < kDraws; ++i) equal += choose(target, options, i) == choose(draft, options, i) ? 1 : 0;
  const double agreement = equal / double{kDraws};
  EXPECT_GT(distance, 0.1);
  EXPECT_GT(agreement, (1 - distance) / (1 + distance) - 0.03);
  EXPECT_LT(agreement, 1 - distance + 0.03);
}

TEST(Logprobs, AreOfTheUnprocessedDistribution) {
  const std::vector<float> logits{1, 3, kNan, 2, 3};
  Sampler sampler(5);
  std::vector<TokenLogprob> out;
  ASSERT_TRUE(sampler.logprobs(logits, 3, 3, out));
  const double normaliser = std::log(std::exp(1.0) + 2 * std::exp(3.0) + std::exp(2.0));
  ASSERT_EQ(out.size(), 4U);
  EXPECT_EQ(out[0].token, 3);
  EXPECT_NEAR(out[0].logprob, 2 - normaliser, 1e-14);
  EXPECT_EQ(out[1].token, 1);
  EXPECT_EQ(out[2].token, 4);
  EXPECT_NEAR(out[2].logprob, 3 - normaliser, 1e-14);
  EXPECT_EQ(out[3].token, 3);
  ASSERT_TRUE(sampler.logprobs(logits, 0, 0, out));
  EXPECT_EQ(out.size(), 1U);
}

TEST(SamplingOptions, WrongValuesAreNamed) {
  const auto message = [](const SamplingOptions& options) {
    const auto status = check(options);
    return status ? std::string() : status.error().message;
  };
  EXPECT_EQ(message({}), "");
  EXPECT_EQ(message({.temperature = -1}), "temperature is -1, but must be from 0 (greedy) to 100");
  EXPECT_EQ(message({.temperature = std::nan("")}), "temperature is nan, but must be from 0 (greedy) to 100");
  EXPECT_EQ(message({.top_p = 0}), "top_p is 0, but must be above 0 and at most 1");
  EXPECT_EQ(message({.min_p = 1.5}), "min_p is 1.5, but must be from 0 to 1");
  EXPECT_EQ(message({.top_k = -2}), "top_k is -2, but must be 0 (all tokens) or more");
  EXPECT_EQ(message({.repetition_penalty = 0}), "repetition_penalty is 0, but must be above 0 and at most 1024");
}

TEST(Sampler, AllocatesNothingAfterConstruction) {
  const auto logits = random_logits(1000, 3);
  Sampler sampler(1000);
  TokenHistory history(1000);
  std::vector<TokenLogprob> out;
  out.reserve(6);
  const std::int64_t before = hadal::testing::allocations();
  for (std::int64_t position = 0; position < 20; ++position) {
    for (const SamplingOptions& options :
         {SamplingOptions{}, SamplingOptions{.temperature = 1, .repetition_penalty = 1.1},
          SamplingOptions{.temperature = 1, .top_k = 50, .top_p = 0.9, .min_p = 0.01},
          SamplingOptions{.temperature = 1, .top_p = 0.99}}) {
      const auto token = sampler.choose(logits, options, history, position);
      ASSERT_TRUE(token);
      history.add(*token);
    }
    ASSERT_TRUE(sampler.logprobs(logits, 3, 5, out));
  }
  EXPECT_EQ(hadal::testing::allocations(), before);
}

}  // namespace
}  // namespace hadal::engine
