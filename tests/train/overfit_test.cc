// A tiny model learns 50 sequences by heart: the whole loop of forward, backward, optimisers and data works together.

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>

#include "backends/cpu/cpu_backend.h"
#include "base/philox.h"
#include "formats/presets.h"
#include "testing/temp_directory.h"
#include "train/data/token_set_writer.h"
#include "train/model_step.h"
#include "train/train_config.h"
#include "train/trainer.h"

namespace hadal::train {
namespace {

constexpr std::int32_t kDocuments = 50;
constexpr std::int32_t kVocabulary = 64;
constexpr std::uint32_t kLength = 40;

/// Documents of random tokens behind a first one of their own, which nobody could foretell and which is not learned.
void write_random_documents(const std::filesystem::path& folder) {
  auto writer = TokenSetWriter::create(folder, {.name = "random",
                                                .vocab_size = kVocabulary,
                                                .tokenizer_sha256 = "abc",
                                                .bos_id = 0,
                                                .eos_id = 1,
                                                .pad_id = 2,
                                                .has_mask = true,
                                                .sources = {},
                                                .shards = {}});
  ASSERT_TRUE(writer) << writer.error().message;
  for (std::int32_t document = 0; document < kDocuments; ++document) {
    TokenDocument made{.tokens = {0, 3 + document}, .mask = {0, 0}, .bytes = kLength};
    for (std::uint32_t i = 0; i < kLength; ++i) {
      made.tokens.push_back(static_cast<std::int32_t>(
          3 + philox({static_cast<std::uint32_t>(document), i, 0, 0}, {7, 0})[0] % (kVocabulary - 3)));
      made.mask.push_back(1);
    }
    made.tokens.push_back(1);
    made.mask.push_back(1);
    ASSERT_TRUE(writer->add(made, "s"));
  }
  ASSERT_TRUE(writer->finish());
}

/// Every part of V4: sliding window, both compressors, an indexer that chooses, hash and learned routing, MTP.
formats::ModelConfig model_of_test() {
  formats::ModelConfig config = *formats::preset("tiny");
  config.vocab_size = kVocabulary;
  config.hidden_size = 96;
  config.num_hidden_layers = 3;
  config.compress_ratios = {0, 4, 128, 0};
  config.num_hash_layers = 1;
  config.num_attention_heads = 2;
  config.index_topk = 8;
  config.sliding_window = 32;
  config.n_routed_experts = 4;
  config.num_experts_per_tok = 2;
  return config;
}

TEST(Overfit, FiftySequences) {
  const testing_support::TempDirectory folder;
  write_random_documents(folder / "set");
  constexpr std::int64_t kBatch = 1024;
  constexpr std::int64_t kSteps = 160;
  const auto config = parse_train_config(fmt::format(R"(
model = "none"
seed = 3
micro_batch = {0}
[data]
longest_piece = 256
[[data.sources]]
folder = "set"
[schedule]
tokens = {1}
peak = 8e-3
final = 0
warmup_steps = 20
decay_share = 0.7
[optimizer]
weight_decay = 0
muon_steps = "economy"
[loss]
mtp = 0.1
[[stages]]
sequence = 256
batch = {0}
)",
                                                     kBatch, kBatch * kSteps),
                                         folder.path(), "overfit.toml");
  ASSERT_TRUE(config) << config.error().message;
  const auto backend = *cpu::CpuBackend::create(1);
  std::unique_ptr<ModelStep> step;
  Trainer::Setup setup{.config = *config,
                       .model = model_of_test(),
                       .folder = folder / "run",
                       .environment = {},
                       .make_step = [&](Parameters& parameters) -> Result<StepFunctions> {
                         HADAL_ASSIGN(step, ModelStep::create(*backend, parameters, *config));
                         return step->functions();
                       }};
  const auto trainer = Trainer::create(*backend, std::move(setup));
  ASSERT_TRUE(trainer) << trainer.error().message;
  const auto end = (*trainer)->run({});
  ASSERT_TRUE(end) << end.error().message;
  const auto records = (*trainer)->log().records();
  EXPECT_GT(records.front().loss, 3.9);  // log(61) = 4.1 for a model that knows nothing
  double mean = 0;
  constexpr std::size_t kLast = 10;
  for (std::size_t i = records.size() - kLast; i < records.size(); ++i) mean += records[i].loss / kLast;
  EXPECT_LT(mean, 0.05);
}

}  // namespace
}  // namespace hadal::train
