// The operator seam: the whole model on a backend that is asynchronous and keeps its memory to itself.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <numeric>
#include <string_view>
#include <vector>

#include "base/trace.h"
#include "engine/recorder.h"
#include "engine/vector_set.h"
#include "formats/checkpoint.h"
#include "formats/safetensors.h"
#include "model/executor.h"
#include "model/model.h"
#include "ops/reference/reference_backend.h"
#include "testing/allocation_counter.h"
#include "testing/fake_async_backend.h"
#include "testing/golden_path.h"

namespace hadal::engine {
namespace {

struct Case {
  std::string checkpoint;
  std::string numerics;
};

class Seam : public ::testing::TestWithParam<Case> {};

std::unique_ptr<VectorSet> run(ops::Backend& backend, const formats::Checkpoint& checkpoint,
                               const std::string& numerics, const std::vector<std::int64_t>& tokens) {
  auto model = model::Model::load(backend, checkpoint, checkpoint.config(), *model::numerics_profile(numerics));
  EXPECT_TRUE(model) << model.error().message;
  if (!model) return nullptr;
  RecordOptions options{.chunk = 29,
                        .batch = 3,
                        .logits_positions = std::vector<std::int64_t>(tokens.size()),
                        .mtp_logits_positions = {},
                        .trace_positions = std::vector<std::int64_t>(tokens.size()),
                        .drafter = (*model)->drafter().kind != formats::DrafterKind::kNone,
                        .context_positions = {},
                        .anchors = {},
                        .full_positions = {},
                        .forced_inputs = nullptr};
  std::iota(options.logits_positions.begin(), options.logits_positions.end(), 0);
  options.trace_positions = options.logits_positions;
  if ((*model)->drafter().kind == formats::DrafterKind::kDSpark) {
    options.context_positions = {0, 5, 64, 130};
    for (const std::int64_t position : options.context_positions) {
      options.anchors.push_back(tokens[static_cast<std::size_t>(position) + 1]);
    }
    options.full_positions = options.context_positions;
  }
  auto recorded = record(**model, tokens, options);
  EXPECT_TRUE(recorded) << recorded.error().message;
  return recorded ? std::move(*recorded) : nullptr;
}

TEST_P(Seam, AsynchronousBackendGivesTheSameBits) {
  const auto directory = testing::golden_path(GetParam().checkpoint);
  if (!directory) GTEST_SKIP() << "golden data " << GetParam().checkpoint << " is not here";
  auto checkpoint = formats::Checkpoint::open(*directory / "checkpoint");
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  auto golden = formats::SafetensorsFile::open(*directory / "exact.safetensors");
  ASSERT_TRUE(golden);
  auto tokens = *integers(**golden, "tokens");
  tokens.resize(150);

  ops::ReferenceBackend reference;
  testing::FakeAsyncBackend fake(reference);
  fake.set_poison_allocations(true);  // arenas, rings and pages hold NaN until something is written to them
  const auto expected = run(reference, **checkpoint, GetParam().numerics, tokens);
  const auto got = run(fake, **checkpoint, GetParam().numerics, tokens);
  ASSERT_TRUE(expected && got);
  ASSERT_EQ(expected->names(), got->names());
  EXPECT_GT(expected->names().size(), 20U);
  for (const std::string& name : expected->names()) {
    const auto a = *expected->tensor(name);
    const auto b = *got->tensor(name);
    ASSERT_EQ(a.bytes, b.bytes) << name;
    EXPECT_EQ(std::memcmp(a.data, b.data, static_cast<std::size_t>(a.bytes)), 0) << name;
  }
  EXPECT_GT(fake.counts().operators, 1000);
  // A step costs a fixed number of transfers, however many rows, layers and experts it has.
  EXPECT_LT(fake.counts().uploads, fake.counts().operators / 10);
}

INSTANTIATE_TEST_SUITE_P(Models, Seam,
                         ::testing::Values(Case{"tiny-base", "exact"}, Case{"tiny-dspark", "exact"},
                                           Case{"tiny-dspark", "bf16"}, Case{"tiny-flash", "sim"}),
                         [](const ::testing::TestParamInfo<Case>& parameter) {
                           std::string name = parameter.param.checkpoint + "_" + parameter.param.numerics;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

/// Spans of a thread lie inside one another or apart; operators lie inside the phases of the executor, and layers too.
void expect_steps(const trace::Trace& trace) {
  EXPECT_GT(trace.dropped, 0);  // the ring went round: the first spans left may have lost the phase around them
  std::map<std::string_view, std::int64_t> counts;
  std::vector<trace::Record> open;
  bool in_step = false;
  for (const trace::Record& record : trace.records) {
    while (!open.empty() && open.back().end <= record.begin) open.pop_back();
    if (open.empty() && record.name == "forward") in_step = true;
    if (!in_step) continue;
    if (!open.empty()) {
      EXPECT_LE(record.end, open.back().end) << record.name << " in " << open.back().name;
    }
    const bool phase = record.name == "forward" || record.name == "commit" || record.name == "begin_draft" ||
                       record.name == "next_draft" || record.name == "read";
    EXPECT_EQ(open.empty(), phase) << record.name;
    if (record.name == "layer") {
      EXPECT_EQ(open.back().name, "forward");
    }
    if (record.value_name == "rows") {
      EXPECT_GE(record.value, 1) << record.name;
    }
    ++counts[record.name];
    open.push_back(record);
  }
  EXPECT_GT(counts["forward"], 5);
  EXPECT_GE(counts["layer"], counts["forward"] * 2);
  EXPECT_GT(counts["linear"], counts["layer"]);
  EXPECT_GT(counts["commit_rows"], counts["commit"]);
}

TEST(Allocations, NoneInAHundredDecodeStepsWithDrafts) {
  const auto directory = testing::golden_path("tiny-dspark");
  ASSERT_TRUE(directory);
  auto checkpoint = formats::Checkpoint::open(*directory / "checkpoint");
  ASSERT_TRUE(checkpoint);
  ops::ReferenceBackend backend;
  auto model = model::Model::load(backend, **checkpoint, (*checkpoint)->config(), *model::numerics_profile("exact"));
  ASSERT_TRUE(model);
  auto pool = model::StatePool::create(backend, (*model)->state_layout(), 1, 8);
  ASSERT_TRUE(pool);
  auto executor = model::Executor::create(
      **model, **pool, {.max_rows = 8, .max_sequences = 1, .max_logits_rows = 8, .max_tokens = 512, .max_drafts = 5});
  ASSERT_TRUE(executor);
  auto state = (*pool)->new_sequence();
  ASSERT_TRUE(state);
  ASSERT_TRUE(state->reserve(512));  // a page is a push to a vector, once in 128 tokens
  std::vector<float> logits(static_cast<std::size_t>((*model)->config().vocab_size));
  const std::vector<std::int32_t> rows{0};
  std::int64_t token = 1;
  std::int64_t before = 0;
  trace::start(1 << 14);
  for (int step = 0; step < 103; ++step) {
    if (step == 3) before = testing::allocations();
    const model::StepSequence sequence{.state = &*state, .tokens = {&token, 1}};
    ASSERT_TRUE((*executor)->forward({.sequences = {&sequence, 1}, .logits_rows = rows}));
    ASSERT_TRUE((*executor)->read((*executor)->logits(), logits));
    const std::int64_t accepted = 1;
    ASSERT_TRUE((*executor)->commit({&accepted, 1}));
    token = std::max_element(logits.begin(), logits.end()) - logits.begin();
    const model::SequenceState* const drafted = &*state;
    ASSERT_TRUE((*executor)->begin_draft({&drafted, 1}, {&token, 1}));
    ASSERT_TRUE((*executor)->next_draft({&token, 1}));
    ASSERT_TRUE((*executor)->read((*executor)->draft_logits(), logits));
  }
  EXPECT_EQ(testing::allocations() - before, 0);
  EXPECT_EQ(state->length(), 103);
  expect_steps(trace::stop());
}

}  // namespace
}  // namespace hadal::engine
