#include "model/model.h"

#include <gtest/gtest.h>

#include "testing/golden_file.h"
#include "testing/golden_path.h"

namespace hadal::model {
namespace {

using testing::GoldenFile;

constexpr formats::ModelConfig::RopeScaling kYarn{
    .factor = 16, .original_max_position_embeddings = 65536, .beta_fast = 32, .beta_slow = 1};

TEST(RopeFrequencies, OfTheRealModelsAreGoldenToTheBit) {
  const GoldenFile units("units.safetensors");
  EXPECT_EQ(rope_frequencies(64, 10000), units.floats("rope.main.frequencies"));
  EXPECT_EQ(rope_frequencies(64, 160000, kYarn), units.floats("rope.compress.frequencies"));
}

TEST(RopeFrequencies, OfATinyModelAreGoldenToTheBit) {
  const auto path = testing::golden_path("tiny-base/checkpoint/config.json");
  ASSERT_TRUE(path.has_value());
  const auto config = formats::read_model_config(*path);
  ASSERT_TRUE(config.has_value()) << config.error().message;
  const GoldenFile exact("tiny-base/exact.safetensors");
  EXPECT_EQ(rope_frequencies(config->qk_rope_head_dim, config->rope_theta), exact.floats("rope.main.frequencies"));
  EXPECT_EQ(rope_frequencies(config->qk_rope_head_dim, config->compress_rope_theta, config->rope_scaling),
            exact.floats("rope.compress.frequencies"));
}

TEST(RopeFrequencies, WithoutAnOriginalLengthThereIsNoYarn) {
  formats::ModelConfig::RopeScaling none = kYarn;
  none.original_max_position_embeddings = 0;
  EXPECT_EQ(rope_frequencies(64, 160000, none), rope_frequencies(64, 160000));
}

TEST(RopeFrequencies, YarnKeepsTheFastChannelsAndDividesTheSlowOnes) {
  const std::vector<float> plain = rope_frequencies(64, 160000);
  const std::vector<float> scaled = rope_frequencies(64, 160000, kYarn);
  for (std::size_t i = 0; i <= 15; ++i) EXPECT_EQ(scaled[i], plain[i]);
  for (std::size_t i = 16; i < 25; ++i) EXPECT_TRUE(scaled[i] < plain[i] && scaled[i] > plain[i] / 16);
  for (std::size_t i = 25; i < 32; ++i) EXPECT_EQ(scaled[i], plain[i] / 16);
}

// Both ends of the correction range clamp to channel 0: the ramp must not divide by zero.
TEST(RopeFrequencies, AnEmptyCorrectionRangeIsAStep) {
  formats::ModelConfig::RopeScaling yarn = kYarn;
  yarn.original_max_position_embeddings = 4;
  const std::vector<float> plain = rope_frequencies(8, 10000);
  const std::vector<float> scaled = rope_frequencies(8, 10000, yarn);
  EXPECT_EQ(scaled[0], plain[0]);
  for (std::size_t i = 1; i < 4; ++i) EXPECT_EQ(scaled[i], plain[i] / 16);
}

}  // namespace
}  // namespace hadal::model
