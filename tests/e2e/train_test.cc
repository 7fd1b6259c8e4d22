// From texts to a tuned model that answers, as a person does it: data prepare, train, export, finetune, run.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "interactive.h"
#include "program.h"
#include "testing/temp_directory.h"

namespace hadal::e2e {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;
using testing_support::read_text;
using testing_support::TempDirectory;
using testing_support::write_text;

/// Every part of V4 at the smallest sizes that the official file format allows.
constexpr std::string_view kModel = R"({
  "architectures": ["DeepseekV4ForCausalLM"], "model_type": "deepseek_v4", "bos_token_id": 0, "eos_token_id": 1,
  "hc_eps": 1e-6, "hc_mult": 2, "hc_sinkhorn_iters": 4, "head_dim": 128, "hidden_act": "silu", "hidden_size": 128,
  "index_head_dim": 128, "index_n_heads": 2, "index_topk": 8, "max_position_embeddings": 4096,
  "moe_intermediate_size": 128, "n_routed_experts": 4, "n_shared_experts": 1, "norm_topk_prob": true,
  "num_attention_heads": 2, "num_experts_per_tok": 2, "num_hidden_layers": 3, "num_hash_layers": 1,
  "num_key_value_heads": 1, "num_nextn_predict_layers": 1, "o_groups": 2, "o_lora_rank": 128, "q_lora_rank": 128,
  "qk_rope_head_dim": 64, "rms_norm_eps": 1e-6,
  "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 4, "original_max_position_embeddings": 1024,
                   "type": "yarn"},
  "rope_theta": 10000, "routed_scaling_factor": 1.5, "scoring_func": "sqrtsoftplus", "sliding_window": 32,
  "swiglu_limit": 10, "tie_word_embeddings": false, "topk_method": "noaux_tc", "vocab_size": 384,
  "compress_rope_theta": 160000, "compress_ratios": [0, 4, 128, 0]})";

constexpr std::string_view kTraining = R"(
model = "config.json"
tokenizer = "prepared"
seed = 5
micro_batch = 256
[data]
longest_piece = 256
validation = ["prepared/valid/texts"]
validation_tokens = 512
[[data.sources]]
folder = "prepared/train/texts"
[schedule]
tokens = 3000
warmup_steps = 2
[[stages]]
until = 0.5
sequence = 128
batch = 512
attention = "dense"
[[stages]]
sequence = 256
batch = 512
quantized = true
[output]
checkpoint_minutes = 1e-6
evaluate_every = 2
sample_every = 3
sample_tokens = 8
prompts = ["The dog"]
)";

/// The columns of steps.csv that must not depend on speed, threads or interruptions.
std::string losses(const fs::path& run) {
  std::istringstream lines(read_text(run / "steps.csv"));
  std::vector<bool> kept;
  std::string all;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream cells(line);
    std::size_t column = 0;
    for (std::string cell; std::getline(cells, cell, ','); ++column) {
      if (column == kept.size()) kept.push_back(cell.find("seconds") == std::string::npos);
      if (kept[column]) all += cell + " ";
    }
    all += "\n";
  }
  return all;
}

class Train : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(folder_ / "texts/train");
    fs::create_directories(folder_ / "texts/valid");
    const std::vector<std::string> who = {"The dog", "A cat", "The old man", "My sister", "A small bird"};
    const std::vector<std::string> what = {"sees", "likes", "looks for", "sings to", "runs after"};
    const std::vector<std::string> whom = {"the moon", "a red ball", "the river", "an apple", "the rain"};
    for (std::size_t file = 0; file < 4; ++file) {
      std::string text;
      for (std::size_t line = 0; line < 150; ++line) {
        text += who[(line * 7 + file) % 5] + " " + what[(line / 3 + file) % 5] + " " + whom[(line / 7) % 5] + ".\n";
      }
      write_text(folder_ / "texts" / (file == 0 ? "valid" : "train") / ("text" + std::to_string(file) + ".txt"), text);
    }
    write_text(folder_ / "config.json", kModel);
    write_text(folder_ / "train.toml", kTraining);
    const Finished prepared =
        run_hadal({"data", "prepare", path("texts"), "--train-tokenizer", "384", "--out", path("prepared")});
    ASSERT_EQ(prepared.exit_code, 0) << prepared.err;
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  Finished train(const std::string& run, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"train", path("train.toml"), "--checkpoints", path(run), "--quiet"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_hadal(arguments);
  }

  TempDirectory folder_;
};

TEST_F(Train, GivesTheSameLossesOnAnyThreadsAndAfterKills) {
  const Finished whole = train("whole", {"--threads", "2"});
  ASSERT_EQ(whole.exit_code, 0) << whole.err;
  EXPECT_THAT(whole.out, HasSubstr("finished at step 6"));
  EXPECT_TRUE(fs::exists(folder_ / "whole/plot.svg"));
  EXPECT_THAT(read_text(folder_ / "whole/sample-000000003.txt"), HasSubstr("The dog"));

  {  // Killed in some step after the second one, then stopped in good order, then finished.
    Running run({"train", path("train.toml"), "--checkpoints", path("torn"), "--threads", "1", "--quiet"},
                folder_ / "err");
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::minutes(2);
    while (!fs::exists(folder_ / "torn/step-000000002.ckpt")) {
      ASSERT_LT(std::chrono::steady_clock::now(), give_up) << run.errors();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    run.signal(SIGKILL);
    EXPECT_EQ(run.wait(), 128 + SIGKILL);
  }
  const Finished one = train("torn", {"--resume", "--threads", "2", "--max-steps", "1"});
  ASSERT_EQ(one.exit_code, 0) << one.err;
  const Finished rest = train("torn", {"--resume", "--threads", "1"});
  ASSERT_EQ(rest.exit_code, 0) << rest.err;
  EXPECT_EQ(rest.err, "");
  EXPECT_EQ(losses(folder_ / "torn"), losses(folder_ / "whole"));
  EXPECT_EQ(read_text(folder_ / "torn/evaluations.csv"), read_text(folder_ / "whole/evaluations.csv"));
}

TEST_F(Train, EndsInATunedModelThatAnswers) {
  const Finished trained = train("run");
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  const Finished exported =
      run_hadal({"export", path("run/best.ckpt"), "--tokenizer", path("prepared"), "--out", path("base")});
  ASSERT_EQ(exported.exit_code, 0) << exported.err;

  std::string chats;
  for (int i = 0; i < 16; ++i) {
    const std::string number = std::to_string(i);
    chats += json{{"messages",
                   {{{"role", "user"}, {"content", "Who sees number " + number + "?"}},
                    {{"role", "assistant"}, {"content", "The dog sees number " + number + "."}}}}}
                 .dump() +
             "\n";
  }
  write_text(folder_ / "chats.jsonl", chats);
  const std::vector<std::string> tune = {
      "finetune",      path("base"),   path("chats.jsonl"), path("texts"), "--out",           path("tuned"),
      "--checkpoints", path("tuning"), "--sequence",        "128",         "--learning-rate", "5e-3",
      "--batch",       "256",          "--micro-batch",     "256",         "--quiet"};
  std::vector<std::string> part = tune;
  part.insert(part.end(), {"--max-steps", "3"});
  const Finished begun = run_hadal(part);
  ASSERT_EQ(begun.exit_code, 0) << begun.err;
  EXPECT_FALSE(fs::exists(folder_ / "tuned"));
  const Finished again = run_hadal(tune);
  EXPECT_EQ(again.exit_code, 2);
  EXPECT_THAT(again.err, HasSubstr("is there already; go on with --resume"));
  std::vector<std::string> resume = {"finetune",      path("base"),   "--out",    path("tuned"),
                                     "--checkpoints", path("tuning"), "--resume", "--quiet"};
  const Finished tuned = run_hadal(resume);
  ASSERT_EQ(tuned.exit_code, 0) << tuned.err;
  EXPECT_THAT(tuned.out, HasSubstr("finished at step "));

  // Column 3 is the loss of the step.
  std::istringstream lines(read_text(folder_ / "tuning/steps.csv"));
  std::vector<double> curve;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream cells(line);
    std::string cell;
    for (int column = 0; column < 4; ++column) std::getline(cells, cell, ',');
    if (cell != "loss") curve.push_back(std::stod(cell));
  }
  ASSERT_GE(curve.size(), 5U);
  EXPECT_LT(curve.back(), 0.9 * curve.front());

  const Finished answer = run_hadal({"run", path("tuned"), "Who sees number 7?", "--max-tokens", "12", "--json"});
  ASSERT_EQ(answer.exit_code, 0) << answer.err;
  EXPECT_GE(json::parse(answer.out)["tokens"].size(), 1U);

  const Finished taken = run_hadal(resume);
  EXPECT_EQ(taken.exit_code, 2);
  EXPECT_THAT(taken.err, HasSubstr("exists and is not empty"));
  const Finished plain = run_hadal(
      {"finetune", path("base"), path("texts"), "--out", path("other"), "--checkpoints", path("other-run"), "--quiet"});
  EXPECT_EQ(plain.exit_code, 2);
  EXPECT_THAT(plain.err, HasSubstr("none of the inputs holds conversations"));
  // Nothing is left of that attempt, so the same command with conversations works.
  const Finished better = run_hadal({"finetune", path("base"), path("chats.jsonl"), "--out", path("other") + "/",
                                     "--checkpoints", path("other-run"), "--max-steps", "1", "--sequence", "64",
                                     "--batch", "64", "--micro-batch", "64", "--quiet"});
  EXPECT_EQ(better.exit_code, 0) << better.err;
  EXPECT_THAT(better.out, HasSubstr("stopped after --max-steps at step 1"));
}

}  // namespace
}  // namespace hadal::e2e
