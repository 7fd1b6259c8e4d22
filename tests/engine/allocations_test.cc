// Decoding allocates nothing on any thread of the CPU backend: 100 steps of the whole model with drafts.
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "engine/generator.h"
#include "formats/checkpoint.h"
#include "formats/presets.h"
#include "formats/random_checkpoint.h"
#include "model/executor.h"
#include "ops/backend_cases.h"
#include "testing/allocation_counter.h"
#include "testing/golden_path.h"
#include "testing/temp_directory.h"

namespace hadal::engine {
namespace {

constexpr std::int64_t kDrafts = 5;
constexpr std::int64_t kContext = 512;
constexpr std::int64_t kPrompt = 264;  // in its third page: the list of pages grows next at 512
constexpr int kWarm = 10;
constexpr int kCounted = 100;

class Allocations : public testing::BackendTest {
 protected:
  void check(const std::filesystem::path& directory, std::string_view numerics, formats::DrafterKind drafter);
};

class Ignore final : public TokenSink {
 public:
  Status prefilled(std::int64_t, std::int64_t) override { return {}; }
  Result<bool> token(const TokenEvent&) override { return false; }
  Status tail(std::string_view) override { return {}; }
};

void Allocations::check(const std::filesystem::path& directory, std::string_view numerics,
                        formats::DrafterKind drafter) {
  const auto checkpoint = formats::Checkpoint::open(directory);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  const auto model =
      model::Model::load(*backend_, **checkpoint, (*checkpoint)->config(), *model::numerics_profile(numerics));
  ASSERT_TRUE(model) << model.error().message;
  ASSERT_EQ((*model)->drafter().kind, drafter);
  const auto pool = model::StatePool::create(*backend_, (*model)->state_layout(), 1, kContext / ops::kPageTokens);
  ASSERT_TRUE(pool) << pool.error().message;
  const auto executor = model::Executor::create(**model, **pool,
                                                {.max_rows = 64,
                                                 .max_sequences = 1,
                                                 .max_logits_rows = kDrafts + 1,
                                                 .max_tokens = kContext,
                                                 .max_drafts = kDrafts});
  ASSERT_TRUE(executor) << executor.error().message;

  // All drafts but the first are wrong, so that rounds end early and the answer stays inside its pages.
  Generator generator(**executor, {.chunk = 64, .edit_drafts = [](const Sequence&, std::span<std::int64_t> drafts) {
                                     for (std::size_t i = 1; i < drafts.size(); ++i) drafts[i] = (drafts[i] + 1) % 256;
                                   }});
  auto state = (*pool)->new_sequence();
  ASSERT_TRUE(state) << state.error().message;
  Sequence sequence(std::move(*state), SequenceSetting::of(**executor, nullptr));
  std::vector<std::int64_t> prompt(kPrompt);
  for (std::size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<std::int64_t>(i * 37 % 251);
  ASSERT_TRUE(sequence.append(prompt));
  Ignore sink;
  const GenerationOptions options{
      .sampling = {.temperature = 1, .seed = 2}, .max_tokens = kContext - kPrompt, .drafts = DraftMode::kOn};
  ASSERT_TRUE(sequence.begin(options, sink));
  Sequence* const all[] = {&sequence};
  while (sequence.statistics().answer_tokens == 0) ASSERT_TRUE(generator.step(all));
  std::int64_t before = 0;
  for (int step = 0; step < kWarm + kCounted; ++step) {
    if (step == kWarm) before = testing::allocations_of_all_threads();
    const Status status = generator.step(all);
    ASSERT_TRUE(status) << status.error().message;
    ASSERT_FALSE(sequence.finished()) << step;
  }
  EXPECT_EQ(testing::allocations_of_all_threads() - before, 0) << numerics;
  EXPECT_GE(sequence.statistics().rounds, kCounted);
  EXPECT_GT(sequence.statistics().drafted, kCounted);
}

TEST_P(Allocations, NoneInAHundredStepsWithDrafts) {
  check(testing::golden_path("tiny-dspark/checkpoint").value(), "bf16", formats::DrafterKind::kDSpark);
  const testing_support::TempDirectory folder;
  const Status written = formats::write_random_checkpoint(
      {.directory = folder / "mtp", .config = *formats::preset("tiny"), .formats = {}, .seed = 1});
  ASSERT_TRUE(written) << written.error().message;
  check(folder / "mtp", "exact", formats::DrafterKind::kMtp);
}

/// The last two: the widest instruction set on one thread and on two. The others differ in their kernels only, which
/// get no memory.
std::vector<testing::BackendCase> widest() {
  const auto all = testing::backends_under_test();
  return {all.end() - 2, all.end()};
}

INSTANTIATE_TEST_SUITE_P(Cpu, Allocations, ::testing::ValuesIn(widest()),
                         [](const ::testing::TestParamInfo<testing::BackendCase>& parameter) {
                           return parameter.param.name;
                         });

}  // namespace
}  // namespace hadal::engine
