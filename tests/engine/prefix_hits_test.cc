// A hit at every kind of kept state, from memory and from disk: tokens and logprobs are those of a service that
// computes the whole prompt from nothing. The product over all models and sizes of steps is prefix_hits_long_test.

#include "engine/prefix_hits.h"

#include <gtest/gtest.h>

namespace hadal::engine {
namespace {

constexpr std::int64_t kContext = 1152;

TEST(PrefixHits, EveryKindOfStateGivesTheAnswersOfAFreshService) {
  testing::HitBench bench("tiny-dspark", kContext);
  for (const testing::HitCase& given : testing::hit_cases(256)) {
    bench.run(given, 129, false);
    bench.run(given, 64, true);
  }
  // Three turns, or prompts, of each kind hit, and the second answer to every prompt does.
  EXPECT_EQ(bench.hits_from_memory(), (6 * 3 + 5 * 4 + 6) + 3);
  EXPECT_EQ(bench.hits_from_disk(), (6 * 3 + 5 * 4 + 6) - 3) << "three prompts were asked before";
}

TEST(PrefixHits, WithoutTheirKindTheSamePromptsFindLess) {
  testing::HitBench bench("tiny-dspark", kContext);
  for (const testing::HitCase& given : testing::cases_without_their_kind()) bench.run(given, kContext, false);
}

}  // namespace
}  // namespace hadal::engine
