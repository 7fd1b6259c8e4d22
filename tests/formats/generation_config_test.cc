#include "formats/generation_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "testing/temp_directory.h"

namespace hadal::formats {
namespace {

using testing::HasSubstr;

TEST(GenerationConfig, TakesWhatTheFileSays) {
  const auto config = parse_generation_config(
      R"({"_from_model_config": true, "do_sample": true, "temperature": 0.6, "top_p": 0.95, "top_k": 40})", "here");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->temperature, 0.6);
  EXPECT_EQ(config->top_p, 0.95);
  EXPECT_EQ(config->top_k, 40);
  const auto nothing = parse_generation_config(R"({"top_p": null})", "here");
  ASSERT_TRUE(nothing);
  EXPECT_FALSE(nothing->temperature || nothing->top_p || nothing->top_k);
  const auto greedy = parse_generation_config(R"({"do_sample": false, "temperature": 0.7})", "here");
  ASSERT_TRUE(greedy);
  EXPECT_EQ(greedy->temperature, 0);
}

TEST(GenerationConfig, NamesWhatIsWrong) {
  for (const auto& [text, words] :
       {std::pair{"[1]", "here: is no JSON object"},
        std::pair{R"({"temperature": "hot"})", "here: 'temperature' must be a number"},
        std::pair{R"({"top_p": 1.5})", "'top_p' must be a number from 0 to 1"}, std::pair{"{", "here"}}) {
    const auto config = parse_generation_config(text, "here");
    ASSERT_FALSE(config) << text;
    EXPECT_THAT(config.error().message, HasSubstr(words));
  }
}

TEST(GenerationConfig, IsNotNeeded) {
  const testing_support::TempDirectory folder;
  const auto none = read_generation_config(folder.path());
  ASSERT_TRUE(none);
  EXPECT_FALSE(none->temperature);
  testing_support::write_text(folder / "generation_config.json", R"({"temperature": 1})");
  const auto some = read_generation_config(folder.path());
  ASSERT_TRUE(some);
  EXPECT_EQ(some->temperature, 1);
}

}  // namespace
}  // namespace hadal::formats
