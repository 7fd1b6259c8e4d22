// A prompt of 131,072 tokens through a small random model on the CPU backend: what its state takes, and how the memory
// of a step grows with the context.
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cmath>
#include <memory>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "formats/checkpoint.h"
#include "formats/presets.h"
#include "formats/random_checkpoint.h"
#include "model/executor.h"
#include "ops/step_layout.h"
#include "testing/temp_directory.h"

namespace hadal::engine {
namespace {

constexpr std::int64_t kTokens = 131072;
constexpr std::int64_t kChunk = 512;

/// One layer of each kind.
formats::ModelConfig small_model() {
  formats::ModelConfig config = formats::with_drafter(*formats::preset("tiny"), formats::DrafterFields::kNone);
  config.num_hidden_layers = 3;
  config.compress_ratios = {0, 4, 128};
  config.num_hash_layers = 1;
  config.max_position_embeddings = kTokens;
  config.hidden_size = 128;
  config.num_attention_heads = 4;
  config.index_n_heads = 2;
  config.index_head_dim = 32;
  config.expert_dtype = "";
  return config;
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec) + 1e-6 * static_cast<double>(usage.ru_utime.tv_usec);
}

class LongPrompt : public ::testing::Test {
 protected:
  void SetUp() override {
    const Status written =
        formats::write_random_checkpoint({.directory = folder_ / "c",
                                          .config = small_model(),
                                          .formats = {.linear = DType::kBf16, .expert = DType::kBf16},
                                          .seed = 7});
    ASSERT_TRUE(written) << written.error().message;
    checkpoint_ = std::move(formats::Checkpoint::open(folder_ / "c").value());
    backend_ = std::move(cpu::CpuBackend::create(2).value());
    model_ = std::move(
        model::Model::load(*backend_, *checkpoint_, checkpoint_->config(), *model::numerics_profile("bf16")).value());
  }
  [[nodiscard]] std::unique_ptr<model::Executor> executor(model::StatePool& pool, std::int64_t context) const {
    return std::move(
        model::Executor::create(
            *model_, pool,
            {.max_rows = kChunk, .max_sequences = 1, .max_logits_rows = 1, .max_tokens = context, .max_drafts = 0})
            .value());
  }

  testing_support::TempDirectory folder_;
  std::unique_ptr<formats::Checkpoint> checkpoint_;
  std::unique_ptr<ops::Backend> backend_;
  std::unique_ptr<model::Model> model_;
};

TEST_F(LongPrompt, ItsStateHasTheBytesOfTheFormula) {
  // spec/model.md 4.1 with W = 128, D = 96, an indexer of 32 and BF16 rows; compressor state in f32. A window and an
  // unfinished block hold 8 rows more, so that drafts can be taken back.
  constexpr std::int64_t kHead = 96;
  constexpr std::int64_t kIndexHead = 32;
  constexpr std::int64_t kRow = 2 * kHead;
  constexpr std::int64_t kIndexRow = 2 * kIndexHead;
  constexpr std::int64_t kBack = 8;
  constexpr std::int64_t kWindows = 3 * (128 + kBack) * kRow;
  constexpr std::int64_t kUnfinished = 4 * (2 * (8 + kBack) * 2 * (kHead + kIndexHead) + 2 * (128 + kBack) * kHead);
  constexpr std::int64_t kEntries = kTokens / 4 * (kRow + kIndexRow) + kTokens / 128 * kRow;
  const model::StateLayout layout = model_->state_layout();
  EXPECT_EQ(layout.bytes(kTokens), kWindows + kUnfinished + kEntries);

  // So much memory and no more: the prompt fits, its next token does not.
  auto pool = std::move(model::StatePool::create(*backend_, layout, 1, kTokens / ops::kPageTokens).value());
  const auto run = executor(*pool, kTokens + kChunk);
  auto state = pool->new_sequence().value();
  std::vector<std::int64_t> tokens(kChunk);
  std::vector<float> logits(384);
  const std::vector<std::int32_t> last{kChunk - 1};
  double begin = cpu_seconds();
  for (std::int64_t at = 0; at < kTokens; at += kChunk) {
    for (std::int64_t i = 0; i < kChunk; ++i) {
      tokens[static_cast<std::size_t>(i)] = (at + i) * std::int64_t{2654435761} % 384;
    }
    const model::StepSequence sequence{.state = &state, .tokens = tokens};
    const Status status = run->forward({.sequences = {&sequence, 1}, .logits_rows = last});
    ASSERT_TRUE(status) << status.error().message;
    ASSERT_TRUE(run->commit({&kChunk, 1}));
    if ((at + kChunk) % (kTokens / 4) == 0) {
      ASSERT_TRUE(run->read(run->logits(), logits));
      const double now = cpu_seconds();
      fmt::print("{:>7} tokens: {:.1f} us of processor time a token in the last quarter\n", at + kChunk,
                 1e6 * (now - begin) / (static_cast<double>(kTokens) / 4));
      begin = now;
    }
  }
  EXPECT_EQ(state.length(), kTokens);
  EXPECT_EQ(static_cast<std::int64_t>(state.pages().size()), kTokens / 128);
  EXPECT_EQ(pool->free_pages(), 0);
  for (const float logit : logits) ASSERT_TRUE(std::isfinite(logit));
  const model::StepSequence next{.state = &state, .tokens = {tokens.data(), 1}};
  const std::vector<std::int32_t> first{0};
  const Status beyond = run->forward({.sequences = {&next, 1}, .logits_rows = first});
  ASSERT_FALSE(beyond);
  EXPECT_EQ(beyond.error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(state.length(), kTokens);
}

// Nothing in a step's memory grows faster than the context: doubling it adds twice what doubling half of it adds.
TEST_F(LongPrompt, AStepsMemoryGrowsInALine) {
  const auto pool = std::move(model::StatePool::create(*backend_, model_->state_layout(), 1, 1).value());
  const auto bytes = [&](std::int64_t context) { return executor(*pool, context)->memory_bytes(); };
  const std::int64_t small = bytes(kTokens / 4);
  const std::int64_t middle = bytes(kTokens / 2);
  const std::int64_t large = bytes(kTokens);
  EXPECT_LE(large - middle, 2 * (middle - small));
  // The most that may grow: for each of two threads and each token of a step one score of every indexer entry.
  EXPECT_LE(large - middle, 4 * (kTokens / 4) / 2 * (2 * kChunk));
  EXPECT_LT(large, std::int64_t{256} << 20);
}

}  // namespace
}  // namespace hadal::engine
