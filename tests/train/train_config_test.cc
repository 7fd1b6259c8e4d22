#include "train/train_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "formats/model_config.h"

namespace hadal::train {
namespace {

using ::testing::HasSubstr;

constexpr std::string_view kWhole = R"(
name = "nano"
model = "config.json"
tokenizer = "../tokenizer"
seed = 7
micro_batch = 8192
recompute = "layer"

[data]
longest_piece = 8192
validation = ["test/books"]
validation_tokens = 4096
[[data.sources]]
folder = "prepared/books"
epochs = 4
[[data.sources]]
name = "chat"
folder = "prepared/dialogues"
share = 0

[schedule]
tokens = 1_000_000
peak = 2e-3
final = 2e-4
warmup_steps = 50
decay_share = 0.25

[optimizer]
muon_steps = "economy"
weight_decay = 0.2
clip = 2

[loss]
mtp = 0.25
balance = 1e-3

[[stages]]
until = 0.3
sequence = 2048
batch = 16384
attention = "dense"

[[stages]]
sequence = 4096
batch = 32768
quantized = true
epochs = { books = 2 }
shares = { chat = 0.15 }

[output]
checkpoint_minutes = 5
evaluate_every = 100
prompts = ["Once upon a time", "The"]
)";

TEST(TrainConfig, ReadsEverything) {
  const auto config = parse_train_config(kWhole, "/runs", "train.toml");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->name, "nano");
  EXPECT_EQ(config->model, "/runs/config.json");
  EXPECT_EQ(config->tokenizer.lexically_normal(), "/tokenizer");
  EXPECT_EQ(config->seed, 7U);
  EXPECT_EQ(config->micro_batch, 8192);
  EXPECT_TRUE(config->recompute_layers);
  ASSERT_EQ(config->sources.size(), 2U);
  EXPECT_EQ(config->sources[0].name, "books");
  EXPECT_EQ(config->sources[0].source.folder, "/runs/prepared/books");
  EXPECT_EQ(config->sources[0].source.weight.kind, SourceWeight::Kind::kEpochs);
  EXPECT_EQ(config->sources[0].source.weight.value, 4);
  EXPECT_EQ(config->sources[1].name, "chat");
  EXPECT_EQ(config->sources[1].source.weight.kind, SourceWeight::Kind::kShare);
  EXPECT_EQ(config->schedule.total_tokens, 1'000'000);
  EXPECT_EQ(config->schedule.decay_begin(), 750'000);
  EXPECT_EQ(config->muon.steps, Muon::Steps::kEconomy);
  EXPECT_EQ(config->muon.weight_decay, 0.2);
  EXPECT_EQ(config->adam.weight_decay, 0.2);
  EXPECT_EQ(config->adam.epsilon, 1e-20);
  EXPECT_EQ(config->clip, 2);
  EXPECT_EQ(config->mtp_weight, 0.25);
  EXPECT_EQ(config->mtp_weight_decaying, 0.1);
  EXPECT_EQ(config->balance_alpha, 1e-3);
  ASSERT_EQ(config->stages.size(), 2U);
  EXPECT_TRUE(config->stages[0].dense_attention);
  EXPECT_FALSE(config->stages[0].quantized);
  EXPECT_EQ(config->stages[0].mixture[0].value, 4);
  EXPECT_FALSE(config->stages[1].dense_attention);
  EXPECT_TRUE(config->stages[1].quantized);
  EXPECT_EQ(config->stages[1].batch, 32768);
  EXPECT_EQ(config->stages[1].mixture[0].value, 2);
  EXPECT_EQ(config->stages[1].mixture[1].value, 0.15);
  EXPECT_EQ(config->stages[1].mixture[1].kind, SourceWeight::Kind::kShare);
  EXPECT_EQ(config->stage_at(0), 0U);
  EXPECT_EQ(config->stage_at(299'999), 0U);
  EXPECT_EQ(config->stage_at(300'000), 1U);
  EXPECT_EQ(config->stage_at(5'000'000), 1U);
  EXPECT_EQ(config->longest_sequence(), 4096);
  EXPECT_EQ(config->output.prompts.size(), 2U);
  EXPECT_EQ(config->output.checkpoint_minutes, 5);
  EXPECT_EQ(config->settings.at("schedule.peak"), "0.002");
  EXPECT_EQ(config->settings.at("stages[1].shares.chat"), "0.15");
  EXPECT_FALSE(config->settings.contains("output.checkpoint_minutes"));
  EXPECT_FALSE(config->settings.contains("name"));
}

std::string error_of(std::string text) {
  const auto config = parse_train_config(text, "/runs", "train.toml");
  EXPECT_FALSE(config);
  if (config) return "";
  EXPECT_EQ(config.error().code, ErrorCode::kInvalidArgument);
  return config.error().message;
}

std::string with(std::string_view from, std::string_view to) {
  std::string text(kWhole);
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(TrainConfig, RefusesUnknownKeysByName) {
  EXPECT_THAT(error_of(with("seed = 7", "sead = 7")), HasSubstr("train.toml: sead is no key that is known here"));
  EXPECT_THAT(error_of(with("clip = 2", "clips = 2")), HasSubstr("optimizer.clips is no key"));
  EXPECT_THAT(error_of(with("share = 0\n", "share = 0\nx = 1\n")), HasSubstr("data.sources[1].x is no key"));
  EXPECT_THAT(error_of(with("quantized = true", "quantised = true")), HasSubstr("stages[1].quantised is no key"));
  EXPECT_THAT(error_of(with("shares = { chat", "shares = { chats")), HasSubstr("shares.chats is no source"));
}

TEST(TrainConfig, SaysAllThatIsWrong) {
  std::string text = with("peak = 2e-3", "peak = \"high\"");
  text.replace(text.find("clip = 2"), 8, "clip = -1");
  const std::string message = error_of(text);
  EXPECT_THAT(message, HasSubstr("2 things are wrong"));
  EXPECT_THAT(message, HasSubstr("schedule.peak is no number"));
  EXPECT_THAT(message, HasSubstr("optimizer.clip is -1, but must lie in [0,"));
}

TEST(TrainConfig, ChecksStages) {
  EXPECT_THAT(error_of(with("sequence = 4096", "sequence = 5000")), HasSubstr("no multiple of the sequence of 5000"));
  EXPECT_THAT(error_of(with("sequence = 4096", "sequence = 16384")), HasSubstr("must lie in [2, 8192]"));
  EXPECT_THAT(error_of(with("micro_batch = 8192", "micro_batch = 2048")), HasSubstr("longer than micro_batch"));
  EXPECT_THAT(error_of(with("sequence = 4096\n", "sequence = 4096\nuntil = 0.2\n")),
              HasSubstr("not beyond the end of the stage before"));
  EXPECT_THAT(error_of(with("sequence = 4096\n", "sequence = 4096\nuntil = 0.9\n")), HasSubstr("end before 1.0"));
  EXPECT_THAT(error_of(with("attention = \"dense\"", "attention = \"all\"")), HasSubstr("'sparse' or 'dense'"));
  EXPECT_THAT(error_of("model = \"c\"\n[schedule]\ntokens = 5\n"), HasSubstr("stages are missing"));
}

TEST(TrainConfig, NanosRunIsWellFormed) {
  const auto config = read_train_config(std::filesystem::path(HADAL_SOURCE_DIR) / "models" / "nano" / "train.toml");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->name, "nano");
  EXPECT_EQ(config->longest_sequence(), 8192);
  const auto model = formats::read_model_config(config->model);
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->compress_ratios.size(), 8U);
  EXPECT_THAT(model->unknown_fields, ::testing::IsEmpty());
}

TEST(TrainConfig, NamesThePlaceOfASyntaxError) {
  EXPECT_THAT(error_of("model = \"a\"\nseed = = 4\n"), HasSubstr("train.toml: line 2, column"));
}

}  // namespace
}  // namespace hadal::train
