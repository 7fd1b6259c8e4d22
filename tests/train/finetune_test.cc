#include "train/finetune.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/prepared.h"
#include "testing/temp_directory.h"
#include "train/train_config.h"

namespace hadal::train {
namespace {

using ::testing::HasSubstr;
using testing_support::TempDirectory;

/// A chat of `length` tokens of which the last half is to be learned.
TokenDocument chat(std::int64_t number, std::int64_t length) {
  TokenDocument made = numbered_document(number, length);
  made.mask.assign(made.tokens.size(), 0);
  std::fill(made.mask.begin() + static_cast<std::ptrdiff_t>(made.mask.size() / 2), made.mask.end(), std::uint8_t{1});
  return made;
}

class Finetune : public testing::Test {
 protected:
  void SetUp() override {
    write_set(folder_ / "chats", {chat(0, 30), chat(1, 70)}, true);
    write_set(folder_ / "more-chats", {chat(2, 100)}, true);
    write_texts(folder_ / "plain", {300});
    write_texts(folder_ / "short", {100});
    options_ = {.name = "tuned",
                .model = folder_ / "a \"model\"\\of mine",
                .sets = {folder_ / "chats", folder_ / "plain", folder_ / "more-chats", folder_ / "short"},
                .validation = {folder_ / "plain"},
                .sequence = 64,
                .batch = 100,
                .micro_batch = 32};
  }
  Result<TrainConfig> config() const {
    HADAL_ASSIGN(const std::string text, finetune_config(options_));
    return parse_train_config(text, "/", "finetune.toml");
  }

  TempDirectory folder_;
  FinetuneOptions options_;
};

TEST_F(Finetune, AsksForTheRecipeOfTheSpecification) {
  const auto config = this->config();
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->name, "tuned");
  EXPECT_EQ(config->initial, folder_ / "a \"model\"\\of mine");
  EXPECT_EQ(config->model, folder_ / "a \"model\"\\of mine" / "config.json");
  // 3 passes over 200 tokens of chats are three quarters of all.
  EXPECT_EQ(config->schedule.total_tokens, 800);
  EXPECT_EQ(config->schedule.warmup_steps, 20);
  EXPECT_DOUBLE_EQ(config->schedule.learning_rate(20, 0), 2e-4);
  EXPECT_DOUBLE_EQ(config->schedule.learning_rate(30, 600), 0.5e-4);
  EXPECT_EQ(config->bias_speed, 0);
  EXPECT_GT(config->balance_alpha, 0);
  ASSERT_EQ(config->stages.size(), 1U);
  EXPECT_TRUE(config->stages[0].quantized);
  EXPECT_FALSE(config->stages[0].dense_attention);
  EXPECT_EQ(config->stages[0].sequence, 64);
  EXPECT_EQ(config->stages[0].batch, 128);  // whole rows
  EXPECT_EQ(config->micro_batch, 64);       // at least one row
}

TEST_F(Finetune, MixesConversationsAndPlainText) {
  const auto config = this->config();
  ASSERT_TRUE(config) << config.error().message;
  ASSERT_EQ(config->sources.size(), 4U);
  EXPECT_EQ(config->sources[0].name, "some");  // all are called so in their meta.json
  EXPECT_EQ(config->sources[1].name, "some-2");
  const auto weight = [&](std::size_t source) { return config->sources[source].source.weight; };
  EXPECT_EQ(weight(0).kind, SourceWeight::Kind::kEpochs);
  EXPECT_EQ(weight(2).kind, SourceWeight::Kind::kEpochs);
  EXPECT_EQ(weight(1).kind, SourceWeight::Kind::kShare);
  EXPECT_DOUBLE_EQ(weight(1).value, 0.25 * 300 / 400);
  EXPECT_DOUBLE_EQ(weight(3).value, 0.25 * 100 / 400);
  for (const NamedSource& source : config->sources) EXPECT_FALSE(source.source.learn_all);

  options_.sets = {folder_ / "chats"};
  const auto alone = this->config();
  ASSERT_TRUE(alone) << alone.error().message;
  EXPECT_EQ(alone->schedule.total_tokens, 300);
}

TEST_F(Finetune, SaysWhatIsWrong) {
  options_.sets = {folder_ / "plain"};
  auto text = finetune_config(options_);
  ASSERT_FALSE(text);
  EXPECT_THAT(text.error().message, HasSubstr("none of the inputs holds conversations"));
  options_.sets = {folder_ / "chats"};
  options_.plain_share = 1;
  text = finetune_config(options_);
  ASSERT_FALSE(text);
  EXPECT_THAT(text.error().message, HasSubstr("share of plain text is 1"));
}

}  // namespace
}  // namespace hadal::train
