#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/thread_pool.h"
#include "ops/reference/reference_backend.h"
#include "small_model.h"
#include "train/adamw.h"
#include "train/balance.h"
#include "train/gradient_norm.h"
#include "train/parameters.h"
#include "train/schedule.h"
#include "train/spike_guard.h"

namespace hadal::train {
namespace {

using ::testing::ElementsAre;

TEST(AdamW, FollowsTheClosedForm) {
  ops::ReferenceBackend backend;
  const auto parameters = make_small(backend);
  ThreadPool pool(1);
  AdamW adam(*parameters, {});
  const Parameter& embed = *parameters->find("embed.weight");
  const Parameter& norm = *parameters->find("norm.weight");
  const auto weights = parameters->master(embed);
  const auto undecayed = parameters->master(norm);
  weights[5] = 0.5F;
  weights[6] = -0.25F;  // never gets a gradient
  undecayed[0] = 1;
  // Doubles, straight from the definition.
  double w = 0.5;
  double u = 1;
  double m = 0;
  double v = 0;
  for (int k = 1; k <= 20; ++k) {
    const double gradient = 0.01 * std::sin(k);
    const double rate = 1e-2 / k;
    parameters->gradient(embed)[5] = static_cast<float>(2 * gradient);  // halved by the scale
    parameters->gradient(norm)[0] = static_cast<float>(2 * gradient);
    adam.step(rate, 0.5, pool);
    m = 0.9 * m + 0.1 * gradient;
    v = 0.95 * v + 0.05 * gradient * gradient;
    const double direction = m / (1 - std::pow(0.9, k)) / (std::sqrt(v / (1 - std::pow(0.95, k))) + 1e-20);
    w = w * (1 - rate * 0.1) - rate * direction;
    u -= rate * direction;
    ASSERT_NEAR(weights[5], w, 1e-6) << k;
    ASSERT_NEAR(undecayed[0], u, 1e-6) << k;
  }
  EXPECT_EQ(adam.steps(), 20);
  double untouched = -0.25;
  for (int k = 1; k <= 20; ++k) untouched *= 1 - 1e-2 / k * 0.1;
  EXPECT_NEAR(weights[6], untouched, 1e-7);
  EXPECT_EQ(parameters->master(*parameters->find("layers.0.attn.wq_a.weight"))[0], 0);  // Muon's
}

TEST(AdamW, BitsDoNotDependOnThreads) {
  ops::ReferenceBackend backend;
  const auto one = make_small(backend);
  const auto two = make_small(backend);
  ThreadPool single(1);
  ThreadPool pair(2);
  AdamW first(*one, {});
  AdamW second(*two, {});
  for (std::uint32_t step = 0; step < 3; ++step) {
    fill_random(one->gradient(), step);
    fill_random(two->gradient(), step);
    first.step(1e-2, 0.7, single);
    second.step(1e-2, 0.7, pair);
  }
  EXPECT_TRUE(std::equal(one->master().begin(), one->master().end(), two->master().begin()));
}

TEST(GradientNorms, SumPartsAndLeaveTheIndexerOut) {
  ops::ReferenceBackend backend;
  const auto parameters = make_small(backend);
  ThreadPool one(1);
  ThreadPool two(2);
  parameters->gradient(*parameters->find("embed.weight"))[9] = 3;
  parameters->gradient(*parameters->find("layers.1.attn.wkv.weight"))[0] = -4;
  parameters->gradient(*parameters->find("layers.1.attn.indexer.compressor.ape"))[3] = 100;
  const GradientNorms norms = gradient_norms(*parameters, one);
  EXPECT_DOUBLE_EQ(norms.total, 5);
  EXPECT_DOUBLE_EQ(norms.parts[static_cast<std::size_t>(formats::ModelPart::kEmbedding)], 3);
  EXPECT_DOUBLE_EQ(norms.parts[static_cast<std::size_t>(formats::ModelPart::kAttention)], 4);
  EXPECT_DOUBLE_EQ(norms.parts[static_cast<std::size_t>(formats::ModelPart::kIndexer)], 100);
  EXPECT_DOUBLE_EQ(norms.clip_factor(1), 0.2);
  EXPECT_DOUBLE_EQ(norms.clip_factor(10), 1);
  EXPECT_TRUE(norms.finite());
  fill_random(parameters->gradient(), 1);
  EXPECT_EQ(gradient_norms(*parameters, one).total, gradient_norms(*parameters, two).total);
  parameters->gradient()[0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(gradient_norms(*parameters, two).finite());
}

TEST(Schedule, WarmsUpHoldsAndDecays) {
  const Schedule schedule{
      .peak = 2e-3, .final = 2e-4, .warmup_steps = 100, .total_tokens = 1'000'000, .decay_share = 0.3};
  EXPECT_DOUBLE_EQ(schedule.learning_rate(0, 0), 2e-5);
  EXPECT_DOUBLE_EQ(schedule.learning_rate(49, 10'000), 1e-3);
  EXPECT_DOUBLE_EQ(schedule.learning_rate(100, 20'000), 2e-3);
  EXPECT_DOUBLE_EQ(schedule.learning_rate(5000, 699'999), 2e-3);
  EXPECT_FALSE(schedule.decaying(699'999));
  EXPECT_TRUE(schedule.decaying(700'000));
  EXPECT_DOUBLE_EQ(schedule.learning_rate(6000, 850'000), 1.1e-3);  // half way down
  EXPECT_NEAR(schedule.learning_rate(7000, 1'000'000), 2e-4, 1e-18);
  EXPECT_NEAR(schedule.learning_rate(8000, 2'000'000), 2e-4, 1e-18);
}

TEST(Schedule, FallsInAStraightLineWhenTold) {
  const Schedule schedule{
      .peak = 1e-3, .final = 0, .warmup_steps = 10, .total_tokens = 1000, .decay_share = 1, .linear_decay = true};
  EXPECT_DOUBLE_EQ(schedule.learning_rate(4, 100), 0.45e-3);  // warm-up and fall at once
  EXPECT_DOUBLE_EQ(schedule.learning_rate(20, 250), 0.75e-3);
  EXPECT_DOUBLE_EQ(schedule.learning_rate(90, 1000), 0);
}

TEST(Schedule, CanBeProlongedBeforeItsDecay) {
  const Schedule first{.total_tokens = 1'000'000};
  Schedule longer = first;
  longer.total_tokens = 5'000'000;
  for (std::int64_t tokens = 0; tokens < first.decay_begin(); tokens += 9'999) {
    ASSERT_EQ(first.learning_rate(tokens / 5000, tokens), longer.learning_rate(tokens / 5000, tokens));
  }
  EXPECT_EQ(longer.decay_begin(), 3'500'000);
}

TEST(Balance, MovesBiasesTowardsTheMean) {
  std::vector<float> biases{0, 0.5F, -1, 0};
  balance_biases(biases, std::vector<std::int64_t>{10, 2, 6, 6}, 0.001);
  EXPECT_THAT(biases, ElementsAre(-0.001F, 0.501F, -1, 0));
  std::vector<float> thirds{0, 0, 0};
  balance_biases(thirds, std::vector<std::int64_t>{3, 3, 4}, 0.001);  // the mean is no whole number
  EXPECT_THAT(thirds, ElementsAre(0.001F, 0.001F, -0.001F));
  EXPECT_DOUBLE_EQ(load_imbalance(std::vector<std::int64_t>{10, 2, 6, 6}), 10 / 6.0);
  EXPECT_DOUBLE_EQ(load_imbalance(std::vector<std::int64_t>{0, 0}), 1);
}

using Verdict = SpikeGuard::Verdict;

TEST(SpikeGuard, SkipsSpikesAndWhatIsNotFinite) {
  SpikeGuard guard({});
  // Losses 3 and 5 in turn: mean 4, deviation 1; a spike lies above 10.
  for (std::int64_t step = 0; step < 200; ++step) {
    ASSERT_EQ(guard.judge(step, step % 2 == 0 ? 3 : 5, true), Verdict::kApply);
  }
  EXPECT_EQ(guard.judge(200, 9.99, true), Verdict::kApply);
  EXPECT_EQ(guard.state().losses.size(), 200U);
  EXPECT_EQ(guard.judge(201, 11, true), Verdict::kSkip);
  EXPECT_EQ(guard.state().losses.back(), 9.99);  // what was skipped does not count
  EXPECT_EQ(guard.judge(202, 4, false), Verdict::kSkip);
  EXPECT_EQ(guard.judge(302, std::numeric_limits<double>::infinity(), true), Verdict::kSkip);  // the others are old
  EXPECT_EQ(guard.judge(303, std::numeric_limits<double>::quiet_NaN(), true), Verdict::kSkip);
  EXPECT_EQ(guard.judge(304, 4, true), Verdict::kApply);
  EXPECT_EQ(guard.judge(401, 50, true), Verdict::kGoBack);  // with 302 and 303
  EXPECT_EQ(guard.state().total_skipped, 5);
  EXPECT_EQ(guard.judge(402, 50, true), Verdict::kSkip);  // counted anew
}

TEST(SpikeGuard, DoesNotJudgeTheFirstLosses) {
  SpikeGuard guard({});
  for (std::int64_t step = 0; step < 49; ++step) ASSERT_EQ(guard.judge(step, 8, true), Verdict::kApply);
  EXPECT_EQ(guard.judge(49, 100, true), Verdict::kApply);
}

TEST(SpikeGuard, ContinuesFromItsState) {
  SpikeGuard first({});
  for (std::int64_t step = 0; step < 120; ++step) (void)first.judge(step, step % 3 == 0 ? 2.5 : 3.5, step != 60);
  SpikeGuard second({});
  second.restore(first.state());
  EXPECT_EQ(second.state(), first.state());
  EXPECT_EQ(first.judge(120, 7, true), Verdict::kSkip);
  EXPECT_EQ(second.judge(120, 7, true), Verdict::kSkip);
  EXPECT_EQ(first.judge(121, 7, true), Verdict::kGoBack);
  EXPECT_EQ(second.judge(121, 7, true), Verdict::kGoBack);
}

}  // namespace
}  // namespace hadal::train
