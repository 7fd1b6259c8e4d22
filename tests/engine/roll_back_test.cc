// Committed tokens that are taken back leave no trace: not in the logits that follow, not in the drafts, and not in
// sequences that share pages with this one.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "formats/checkpoint.h"
#include "formats/presets.h"
#include "formats/random_checkpoint.h"
#include "model/executor.h"
#include "ops/backend_cases.h"
#include "testing/temp_directory.h"

namespace hadal::engine {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t kMost = model::kRollBackTokens;
constexpr std::int64_t kDrafts = 3;
constexpr std::int64_t kContext = 400;

/// The token of a sequence at a position, and a wrong one for the same place.
std::int64_t right_token(std::int64_t position) { return (position * 37 + 11) % 97; }
std::int64_t wrong_token(std::int64_t position) { return (position * 53 + 29) % 97; }

std::vector<std::int64_t> tokens(std::int64_t begin, std::int64_t end, std::int64_t (*token)(std::int64_t)) {
  std::vector<std::int64_t> result;
  for (std::int64_t position = begin; position < end; ++position) result.push_back(token(position));
  return result;
}

/// A random model with the drafter of a case, and room for four sequences.
class RollBack : public testing::BackendTest {
 protected:
  void open(formats::DrafterFields drafter, const std::string& numerics, std::int64_t pages = 16) {
    const auto directory = temp_ / std::to_string(++opened_);
    const auto config = formats::with_drafter(*formats::preset("tiny"), drafter);
    ASSERT_TRUE(formats::write_random_checkpoint({.directory = directory, .config = config, .formats = {}, .seed = 3}));
    executor_.reset();
    pool_.reset();
    model_.reset();
    checkpoint_ = formats::Checkpoint::open(directory).value();
    model_ =
        model::Model::load(*backend_, *checkpoint_, checkpoint_->config(), *model::numerics_profile(numerics)).value();
    pool_ = model::StatePool::create(*backend_, model_->state_layout(), 4, pages).value();
    executor_ =
        model::Executor::create(
            *model_, *pool_,
            {.max_rows = 160, .max_sequences = 2, .max_logits_rows = 2, .max_tokens = kContext, .max_drafts = kDrafts})
            .value();
    vocabulary_ = model_->config().vocab_size;
  }

  /// Feeds and commits tokens; the logits of the last one.
  std::vector<float> feed(model::SequenceState& state, std::span<const std::int64_t> fed) {
    const model::StepSequence sequence{.state = &state, .tokens = fed};
    const auto last = static_cast<std::int32_t>(fed.size() - 1);
    const auto count = static_cast<std::int64_t>(fed.size());
    EXPECT_TRUE(executor_->forward({.sequences = {&sequence, 1}, .logits_rows = {&last, 1}}));
    std::vector<float> logits(static_cast<std::size_t>(vocabulary_));
    EXPECT_TRUE(executor_->read(executor_->logits(), logits));
    EXPECT_TRUE(executor_->commit({&count, 1}));
    return logits;
  }

  /// Feeds one right token to two sequences and `wrong` more to the second, all committed; whether the logits of the
  /// right token are the same bits for both.
  bool feed_both(model::SequenceState& plain, model::SequenceState& rolled, std::int64_t wrong) {
    const std::int64_t p = plain.length();
    const auto first = tokens(p, p + 1, right_token);
    auto second = first;
    for (std::int64_t i = 1; i <= wrong; ++i) second.push_back(wrong_token(p + i));
    const model::StepSequence sequences[] = {{.state = &plain, .tokens = first}, {.state = &rolled, .tokens = second}};
    const std::int32_t rows[] = {0, 1};
    EXPECT_TRUE(executor_->forward({.sequences = sequences, .logits_rows = rows}));
    const bool same = both_rows_equal(executor_->logits());
    const std::int64_t accepted[] = {1, 1 + wrong};
    EXPECT_TRUE(executor_->commit(accepted));
    return same;
  }

  /// A round of drafts for both; whether all logits of the drafts are the same bits.
  bool drafts_equal(const model::SequenceState& plain, const model::SequenceState& rolled) {
    const model::SequenceState* const states[] = {&plain, &rolled};
    std::vector<std::int64_t> previous(2, right_token(plain.length()));
    if (!executor_->begin_draft(states, previous)) return false;
    bool same = true;
    for (std::int64_t i = 0; i < executor_->draft_length(); ++i) {
      EXPECT_TRUE(executor_->next_draft(previous));
      same = both_rows_equal(executor_->draft_logits()) && same;
      previous.assign(2, wrong_token(plain.length() + i));
    }
    return same;
  }

  bool both_rows_equal(const TensorView& logits) {
    std::vector<float> values(static_cast<std::size_t>(2 * vocabulary_));
    EXPECT_TRUE(executor_->read(logits, values));
    return std::memcmp(values.data(), values.data() + vocabulary_, values.size() / 2 * sizeof(float)) == 0;
  }

  const testing_support::TempDirectory temp_;
  int opened_ = 0;
  std::unique_ptr<formats::Checkpoint> checkpoint_;
  std::unique_ptr<model::Model> model_;
  std::unique_ptr<model::StatePool> pool_;
  std::unique_ptr<model::Executor> executor_;
  std::int64_t vocabulary_ = 0;
};

// Positions up to beyond two pages, with 1 to 8 tokens taken back, at once or in two parts. With one thread on each
// instruction set every position; elsewhere those around the ends of pages and each 13th between, so of every remainder
// by 4.
TEST_P(RollBack, LeavesNoTraceAtAnyAlignment) {
  const bool every = GetParam().name.ends_with("_1");
  for (const auto drafter : {formats::DrafterFields::kMtp, formats::DrafterFields::kDSpark}) {
    SCOPED_TRACE(drafter == formats::DrafterFields::kMtp ? "MTP" : "DSpark");
    ASSERT_NO_FATAL_FAILURE(open(drafter, GetParam().f64 ? "exact" : "bf16"));
    auto plain = pool_->new_sequence().value();
    auto rolled = pool_->new_sequence().value();
    while (plain.length() < 266) {
      const std::int64_t wrong = 1 + (plain.length() * 5 + plain.length() / 8) % kMost;
      ASSERT_TRUE(feed_both(plain, rolled, wrong)) << "position " << plain.length();
      ASSERT_EQ(rolled.length(), plain.length() + wrong);
      const std::int64_t first = plain.length() % 3 == 0 ? wrong / 2 : wrong;
      ASSERT_TRUE(rolled.roll_back(executor_->stream(), first));
      ASSERT_TRUE(rolled.roll_back(executor_->stream(), wrong - first));
      ASSERT_EQ(rolled.length(), plain.length());
      if (plain.length() % 5 == 0) {
        ASSERT_TRUE(drafts_equal(plain, rolled)) << "drafts at position " << plain.length();
      }
      const std::int64_t in_page = plain.length() % 128;
      if (every || in_page < 10 || in_page > 106) continue;
      const auto skipped = tokens(plain.length(), plain.length() + 12, right_token);
      ASSERT_EQ(feed(plain, skipped), feed(rolled, skipped)) << "position " << plain.length();
    }
  }
}

// A page that was full when it was shared may not be written again by whoever takes tokens of it back.
TEST_P(RollBack, CopiesASharedPageBeforeWritingIt) {
  ASSERT_NO_FATAL_FAILURE(open(formats::DrafterFields::kNone, GetParam().f64 ? "exact" : "bf16"));
  for (std::int64_t back = 1; back <= kMost; ++back) {
    const std::int64_t border = 128 - back / 2;  // tokens before, so that the page is full in between
    std::vector<std::int64_t> detour = tokens(0, border, right_token);
    for (std::int64_t i = 0; i < back; ++i) detour.push_back(wrong_token(border + i));
    std::vector<float> logits[2];
    for (const bool shared : {false, true}) {
      auto main = pool_->new_sequence().value();
      (void)feed(main, detour);
      std::optional<model::SequenceState> fork;
      std::optional<model::Snapshot> snapshot;
      if (shared) fork = main.fork(executor_->stream()).value();
      if (shared) snapshot = pool_->snapshot(executor_->stream(), main);
      ASSERT_TRUE(main.roll_back(executor_->stream(), back));
      const auto further = tokens(border, border + 140, right_token);
      logits[shared ? 1 : 0] = feed(main, further);
      if (!shared) continue;
      // The fork and the snapshot still have the detour's past, and may take it back themselves.
      auto restored = pool_->restore(executor_->stream(), *snapshot).value();
      auto straight = pool_->new_sequence().value();
      (void)feed(straight, detour);
      const auto next = tokens(border + back, border + back + 9, right_token);
      const auto expected = feed(straight, next);
      EXPECT_EQ(feed(*fork, next), expected) << "back " << back;
      EXPECT_EQ(feed(restored, next), expected) << "back " << back;
    }
    EXPECT_EQ(logits[0], logits[1]) << "back " << back;
  }
}

TEST_P(RollBack, GoesBackToWhatTheRingsKeepAndNoFurther) {
  ASSERT_NO_FATAL_FAILURE(open(formats::DrafterFields::kNone, GetParam().f64 ? "exact" : "bf16", 3));
  ops::Stream& stream = executor_->stream();
  auto state = pool_->new_sequence().value();
  EXPECT_EQ(state.can_roll_back(), 0);
  (void)feed(state, tokens(0, 3, right_token));
  EXPECT_EQ(state.can_roll_back(), 3);
  (void)feed(state, tokens(3, 130, right_token));
  EXPECT_EQ(state.can_roll_back(), kMost);
  auto fork = state.fork(stream).value();
  EXPECT_EQ(fork.can_roll_back(), kMost);
  ASSERT_TRUE(state.roll_back(stream, 1));
  const Status further = state.roll_back(stream, kMost);
  ASSERT_FALSE(further);
  EXPECT_EQ(further.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(further.error().message, HasSubstr("8 tokens were to be taken back from a sequence of 129, but its state "
                                                 "keeps the past of the last 7 only"));
  EXPECT_EQ(state.length(), 129);
  // Two sequences hold all three pages: there is none for the copy of the shared one.
  ASSERT_EQ(pool_->free_pages(), 0);
  const Status no_page = state.roll_back(stream, 2);
  ASSERT_FALSE(no_page);
  EXPECT_EQ(no_page.error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(state.length(), 129);
  EXPECT_EQ(state.can_roll_back(), kMost - 1);
  fork = model::SequenceState();
  EXPECT_TRUE(state.roll_back(stream, 2));
  EXPECT_EQ(state.length(), 127);
}

TEST_P(RollBack, IsRefusedBetweenForwardAndCommit) {
  ASSERT_NO_FATAL_FAILURE(open(formats::DrafterFields::kNone, GetParam().f64 ? "exact" : "bf16"));
  auto state = pool_->new_sequence().value();
  (void)feed(state, tokens(0, 5, right_token));
  const auto fed = tokens(5, 7, right_token);
  const model::StepSequence sequence{.state = &state, .tokens = fed};
  ASSERT_TRUE(executor_->forward({.sequences = {&sequence, 1}, .logits_rows = {}}));
  ASSERT_TRUE(state.roll_back(executor_->stream(), 1));
  const std::int64_t accepted = 2;
  const Status commit = executor_->commit({&accepted, 1});
  ASSERT_FALSE(commit);
  EXPECT_THAT(commit.error().message, HasSubstr("commit of rows at position 5 of a sequence that was moved to 4"));
}

INSTANTIATE_TEST_SUITE_P(Backends, RollBack, ::testing::ValuesIn(testing::backends_under_test()),
                         [](const auto& backend_case) { return backend_case.param.name; });

TEST(RollBackOfDrafts, LimitsTheLengthOfARound) {
  const testing_support::TempDirectory temp;
  const auto config = formats::with_drafter(*formats::preset("tiny"), formats::DrafterFields::kMtp);
  ASSERT_TRUE(formats::write_random_checkpoint({.directory = temp / "m", .config = config, .formats = {}, .seed = 3}));
  const auto checkpoint = formats::Checkpoint::open(temp / "m").value();
  const auto backend = testing::backends_under_test().front().create();
  const auto model =
      model::Model::load(*backend, *checkpoint, checkpoint->config(), *model::numerics_profile("exact")).value();
  const auto pool = model::StatePool::create(*backend, model->state_layout(), 1, 4).value();
  const auto executor = model::Executor::create(*model, *pool, {.max_drafts = kMost + 1});
  ASSERT_FALSE(executor);
  EXPECT_THAT(executor.error().message,
              HasSubstr("rounds of 9 drafts were asked for, but a state can take back 8 tokens"));
}

}  // namespace
}  // namespace hadal::engine
