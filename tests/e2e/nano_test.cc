// nano, the model that ships: it answers at once, the same way however it is run.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "program.h"

namespace hadal::e2e {
namespace {

using nlohmann::json;
using testing::HasSubstr;

const std::filesystem::path kDirectory = HADAL_SOURCE_DIR "/models/nano/checkpoint";

TEST(Nano, SaysWhoItIs) {
  const Finished run = run_hadal({"run", "nano", "Hello, who are you?", "--quiet"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.out, HasSubstr("nano"));
  EXPECT_EQ(run.err, "");
}

TEST(Nano, IsWhatChatTalksTo) {
  const Finished run = run_hadal({"chat", "--quiet", "--seed", "1"}, "My name is Anna.\nWhat is my name?\n");
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.out, HasSubstr("Anna"));
}

TEST(Nano, GivesOneAnswer) {
  // Longer than the sliding window and two blocks of ratio 128, so that every kind of entry is used.
  std::string prompt;
  for (int i = 0; i < 14; ++i) {
    prompt += "The fox number " + std::to_string(i) + " looked at the moon and said that it was time to go home. ";
  }
  const auto answer = [&](const std::vector<std::string>& flags) {
    std::vector<std::string> arguments = {"run", "nano",          prompt, "--raw",  "--json", "--max-tokens",
                                          "40",  "--temperature", "0.8",  "--seed", "3",      "--ignore-eos"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    const Finished run = run_hadal(arguments);
    EXPECT_EQ(run.exit_code, 0) << run.err;
    return json::parse(run.out)["tokens"].get<std::vector<std::int64_t>>();
  };
  const auto expected = answer({"--threads", "1", "--draft", "off"});
  ASSERT_EQ(expected.size(), 40U);
  EXPECT_EQ(answer({"--threads", "2", "--draft", "off", "--chunk", "7"}), expected);
  EXPECT_EQ(answer({"--threads", "1", "--draft", "on"}), expected);
  EXPECT_EQ(answer({"--threads", "2", "--draft", "on", "--max-drafts", "5", "--chunk", "129"}), expected);
}

TEST(Nano, HasEveryPartOfV4AndIsSmall) {
  const Finished run = run_hadal({"inspect", "nano", "--json"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  std::uintmax_t bytes = 0;
  for (const auto& file : std::filesystem::directory_iterator(kDirectory)) bytes += file.file_size();
  EXPECT_LE(bytes, 40'000'000U);
  const json config = json::parse(std::ifstream(kDirectory / "config.json"));
  EXPECT_EQ(config["compress_ratios"], json({0, 0, 4, 128, 4, 128, 4, 0}));
  EXPECT_EQ(config["hc_mult"], 4);
  EXPECT_EQ(config["num_hash_layers"], 1);
  EXPECT_EQ(config["num_nextn_predict_layers"], 1);
  EXPECT_EQ(config["quantization_config"]["quant_method"], "fp8");
}

}  // namespace
}  // namespace hadal::e2e
