#include "formats/presets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "formats/release.h"
#include "testing/temp_directory.h"

namespace hadal::formats {
namespace {

using testing_support::golden;

ModelConfig official(const char* directory) {
  return read_model_config(golden("configs") / directory / "config.json").value();
}

TEST(Presets, OfficialOnesEqualThePublishedConfigurations) {
  for (const auto& [name, directory] : {std::pair{"flash", "V4-Flash"}, std::pair{"flash-0731", "V4-Flash-0731"},
                                        std::pair{"pro", "V4-Pro"}, std::pair{"pro-0813", "V4-Pro-0813"}}) {
    EXPECT_EQ(model_config_json(*preset(name), true), model_config_json(official(directory), true)) << name;
  }
}

TEST(Presets, AllAreValid) {
  for (const char* name : {"tiny", "bench", "flash", "flash-0731", "pro", "pro-0813"}) {
    const auto config = preset(name);
    ASSERT_TRUE(config) << name;
    for (const auto drafter : {DrafterFields::kNone, DrafterFields::kMtp, DrafterFields::kDSpark}) {
      const ModelConfig changed = with_drafter(*config, drafter);
      EXPECT_EQ(drafter_fields(changed), drafter);
      const auto parsed = parse_model_config(model_config_json(changed, true), name);
      ASSERT_TRUE(parsed) << parsed.error().message;
    }
  }
  EXPECT_EQ(preset("huge").error().message,
            "preset 'huge' is unknown; there are tiny, bench, flash, flash-0731, pro, pro-0813");
}

TEST(Presets, DraftersReplaceEachOther) {
  const ModelConfig flash = *preset("flash");
  const ModelConfig there = with_drafter(flash, DrafterFields::kDSpark);
  EXPECT_EQ(there.compress_ratios.size(), 46U);
  EXPECT_EQ(there.dspark.target_layer_ids, (std::vector<std::int64_t>{40, 41, 42}));
  EXPECT_EQ(there.dspark.markov_rank, 256);
  EXPECT_EQ(model_config_json(with_drafter(there, DrafterFields::kMtp), true), model_config_json(flash, true));
}

TEST(Release, IsKnownByDimensionsDrafterAndExperts) {
  const ModelConfig flash = official("V4-Flash");
  EXPECT_EQ(release_name(flash, DrafterFields::kMtp, DType::kI8), "DeepSeek-V4-Flash");
  EXPECT_EQ(release_name(flash, DrafterFields::kNone, DType::kI8), "DeepSeek-V4-Flash without a drafter");
  EXPECT_EQ(release_name(official("V4-Flash-0731"), DrafterFields::kDSpark, DType::kI8), "DeepSeek-V4-Flash-0731");
  EXPECT_EQ(release_name(official("V4-Pro"), DrafterFields::kMtp, std::nullopt), "DeepSeek-V4-Pro");
  EXPECT_EQ(release_name(official("V4-Pro-0813"), DrafterFields::kDSpark, DType::kI8), "DeepSeek-V4-Pro-0813");
  ModelConfig first = flash;
  first.expert_dtype.clear();
  EXPECT_EQ(release_name(first, DrafterFields::kMtp, DType::kI8), "DeepSeek-V4-Flash (first revision)");
  EXPECT_EQ(release_name(first, DrafterFields::kMtp, DType::kE4m3), "DeepSeek-V4-Flash-Base");
  EXPECT_EQ(release_name(first, DrafterFields::kMtp, std::nullopt),
            "DeepSeek-V4-Flash (first revision) or DeepSeek-V4-Flash-Base");
  EXPECT_EQ(release_name(first, DrafterFields::kMtp, DType::kBf16), "DeepSeek-V4-Flash with unquantised experts");
  EXPECT_EQ(release_name(*preset("tiny"), DrafterFields::kMtp, DType::kI8),
            "a DeepSeek V4 model of its own dimensions");
}

}  // namespace
}  // namespace hadal::formats
