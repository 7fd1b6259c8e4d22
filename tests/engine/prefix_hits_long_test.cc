// The whole product of prefix_hits_test: models without a drafter and with either kind, steps of one token up to whole
// prompts, every kind of kept state, memory and disk.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "engine/prefix_hits.h"

namespace hadal::engine {
namespace {

constexpr std::int64_t kContext = 1152;

class PrefixHitsLong : public ::testing::TestWithParam<const char*> {};

TEST_P(PrefixHitsLong, EveryKindSizeOfStepsAndTier) {
  testing::HitBench bench(GetParam(), kContext);
  for (const std::int64_t chunk : {std::int64_t{1}, std::int64_t{7}, std::int64_t{64}, std::int64_t{129}, kContext}) {
    for (const testing::HitCase& given : testing::hit_cases(256)) {
      for (const bool on_disk : {false, true}) bench.run(given, chunk, on_disk);
    }
  }
  EXPECT_EQ(bench.hits_from_memory(), 5 * (6 * 3 + 5 * 4 + 6 + 3));
  EXPECT_EQ(bench.hits_from_disk(), 5 * (6 * 3 + 5 * 4 + 6 - 3));
}

// The distance that is used when nothing else is said.
TEST_P(PrefixHitsLong, StatesEvery2048TokensOfALongPrefill) {
  constexpr std::int64_t kLong = 8448;
  testing::HitBench bench(GetParam(), kLong);
  for (const testing::HitCase& given : testing::hit_cases(ServiceOptions{}.keep_every)) {
    if (given.name != "long prefill") continue;
    bench.run(given, 129, false);
    bench.run(given, kLong, true);
  }
  EXPECT_EQ(bench.hits_from_memory(), 3 + 4);
  EXPECT_EQ(bench.hits_from_disk(), 3 + 4);
}

INSTANTIATE_TEST_SUITE_P(Models, PrefixHitsLong, ::testing::Values("tiny-base", "tiny-dspark", "tiny-mtp"),
                         [](const auto& parameter) {
                           std::string name = parameter.param;
                           name.erase(name.find('-'), 1);
                           return name;
                         });

}  // namespace
}  // namespace hadal::engine
