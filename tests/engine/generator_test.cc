#include "engine/generator.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/rig.h"
#include "text/tokenizer.h"

namespace hadal::engine {
namespace {

using hadal::testing::golden_path;
using hadal::testing::golden_values;
using hadal::testing::Recorder;
using hadal::testing::Rig;
using hadal::testing::state_bytes;

/// An answer with all that must not depend on drafting, chunks or company.
struct Answer {
  std::vector<std::int64_t> tokens;
  std::vector<double> logprobs;
  std::int64_t length = 0;
  std::vector<std::byte> state;
  FinishReason reason = FinishReason::kNone;
  GenerationStatistics statistics;
};

class DSparkGeneration : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!rig_) rig_ = Rig::open("tiny-dspark", 5);
    ASSERT_NE(rig_, nullptr);
    decode_ = golden_values<std::int64_t>(*rig_->golden, "decode.tokens");
    ASSERT_GE(decode_.size(), 40U);
  }
  static void TearDownTestSuite() { rig_.reset(); }

  static Answer answer(Rig& rig, std::span<const std::int64_t> prompt, const GenerationOptions& options,
                       const GeneratorOptions& how = {}) {
    Generator generator(*rig.executor, how);
    Sequence sequence = rig.sequence();
    Recorder recorder;
    EXPECT_TRUE(sequence.append(prompt));
    EXPECT_TRUE(sequence.begin(options, recorder));
    Sequence* const all[] = {&sequence};
    const Status status = generator.run(all);
    EXPECT_TRUE(status) << status.error().message;
    return result(rig, sequence, recorder);
  }

  /// The same, going on from a state that was kept in front of the prompt's last token: spares most of the prefill.
  static Answer answer_from(Rig& rig, const model::Snapshot& kept, std::span<const std::int64_t> prompt,
                            const GenerationOptions& options, const GeneratorOptions& how = {}) {
    Generator generator(*rig.executor, how);
    Sequence sequence = rig.sequence();
    sequence.reset({}, {});
    auto state = rig.pool->restore(rig.executor->stream(), kept);
    EXPECT_TRUE(state);
    sequence.reset(std::move(*state), prompt);
    Recorder recorder;
    EXPECT_TRUE(sequence.begin(options, recorder));
    Sequence* const all[] = {&sequence};
    const Status status = generator.run(all);
    EXPECT_TRUE(status) << status.error().message;
    return result(rig, sequence, recorder);
  }

  /// The state in front of the prompt's last token.
  static model::Snapshot keep(Rig& rig, std::span<const std::int64_t> prompt) {
    Generator generator(*rig.executor, {});
    Sequence sequence = rig.sequence();
    Recorder recorder;
    EXPECT_TRUE(sequence.append(prompt.first(prompt.size() - 1)));
    EXPECT_TRUE(sequence.begin({.max_tokens = 0}, recorder));
    Sequence* const all[] = {&sequence};
    EXPECT_TRUE(generator.run(all));
    EXPECT_EQ(sequence.reason(), FinishReason::kMaxTokens);
    return rig.pool->snapshot(rig.executor->stream(), sequence.state());
  }

  static Answer result(Rig& rig, const Sequence& sequence, const Recorder& recorder) {
    return {.tokens = recorder.tokens,
            .logprobs = recorder.logprobs,
            .length = sequence.state().length(),
            .state = state_bytes(*rig.pool, sequence.state(), rig.model->config().compress_ratios),
            .reason = sequence.reason(),
            .statistics = sequence.statistics()};
  }

  static void expect_equal(const Answer& a, const Answer& b, const std::string& what) {
    EXPECT_EQ(a.tokens, b.tokens) << what;
    EXPECT_EQ(a.logprobs, b.logprobs) << what;
    EXPECT_EQ(a.length, b.length) << what;
    EXPECT_EQ(a.reason, b.reason) << what;
    EXPECT_TRUE(a.state == b.state) << what << ": the states differ";
  }

  static inline std::unique_ptr<Rig> rig_;
  std::vector<std::int64_t> decode_;
};

TEST_F(DSparkGeneration, PlainGreedyIsTheGoldenContinuation) {
  const auto count = static_cast<std::int64_t>(decode_.size());
  const Answer plain = answer(*rig_, rig_->prompt(200), {.max_tokens = count, .drafts = DraftMode::kOff});
  EXPECT_EQ(plain.tokens, decode_);
  EXPECT_EQ(plain.reason, FinishReason::kMaxTokens);
  EXPECT_EQ(plain.length, 200 + count - 1);
  EXPECT_EQ(plain.statistics.prompt_tokens, 200);
  EXPECT_EQ(plain.statistics.plain_steps, count - 1);
  EXPECT_EQ(plain.statistics.rounds, 0);
}

TEST_F(DSparkGeneration, NaturalRoundsAreTheGoldenOnes) {
  const auto rounds = golden_values<std::int64_t>(*rig_->golden, "decode.rounds");
  const auto golden_drafts = golden_values<std::int64_t>(*rig_->golden, "decode.drafts");
  std::vector<std::int64_t> starts;
  std::vector<std::int64_t> drafts;
  GeneratorOptions how;
  how.edit_drafts = [&](const Sequence& sequence, std::span<std::int64_t> proposed) {
    starts.push_back(sequence.state().length() - 1);
    drafts.insert(drafts.end(), proposed.begin(), proposed.end());
  };
  const Answer drafted = answer(*rig_, rig_->prompt(200), {.max_tokens = 60, .drafts = DraftMode::kOn}, how);
  ASSERT_GE(drafted.tokens.size(), decode_.size());
  EXPECT_TRUE(std::equal(decode_.begin(), decode_.end(), drafted.tokens.begin()));
  const std::size_t count = rounds.size() / 2;
  ASSERT_GT(starts.size(), count);
  for (std::size_t i = 0; i < count; ++i) {
    EXPECT_EQ(starts[i], rounds[2 * i]) << "round " << i;
    EXPECT_EQ(starts[i + 1] - starts[i] - 1, rounds[2 * i + 1]) << "accepted in round " << i;
  }
  drafts.resize(std::min(drafts.size(), golden_drafts.size()));
  EXPECT_EQ(drafts, golden_drafts);
}

TEST_F(DSparkGeneration, DraftingChangesNothingThatLeaves) {
  std::vector<GenerationOptions> cases;
  cases.push_back({.sampling = {.logprobs = 2}, .max_tokens = 40});
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    cases.push_back({.sampling = {.temperature = 0.7, .seed = seed, .logprobs = 0}, .max_tokens = 32});
  }
  cases.push_back({.sampling = {.temperature = 1, .top_k = 20, .top_p = 0.9, .seed = 9}, .max_tokens = 32});
  cases.push_back({.sampling = {.temperature = 0.5,
                                .min_p = 0.05,
                                .repetition_penalty = 1.3,
                                .presence_penalty = 0.3,
                                .frequency_penalty = 0.2,
                                .seed = 10},
                   .max_tokens = 32});
  const model::Snapshot kept = keep(*rig_, rig_->prompt(150));
  std::int64_t accepted = 0, rejected = 0;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    GenerationOptions options = cases[i];
    options.drafts = DraftMode::kOff;
    const Answer plain = answer_from(*rig_, kept, rig_->prompt(150), options);
    options.drafts = DraftMode::kOn;
    options.draft_confidence = i % 2 == 0 ? 0 : 0.5;
    const Answer drafted = answer_from(*rig_, kept, rig_->prompt(150), options);
    expect_equal(plain, drafted, "case " + std::to_string(i));
    if (i % 3 == 0) {
      options.drafts = DraftMode::kAuto;
      const Answer automatic = answer(*rig_, rig_->prompt(150), options, {.chunk = 7});
      expect_equal(plain, automatic, "case " + std::to_string(i) + ", auto, all from the beginning in small chunks");
    }
    accepted += drafted.statistics.accepted;
    rejected += drafted.statistics.drafted - drafted.statistics.accepted;
  }
  EXPECT_GT(accepted, 20);  // neither side of the verification was idle
  EXPECT_GT(rejected, 20);
}

TEST_F(DSparkGeneration, ForcedRejectionLeavesNoTrace) {
  // Drafts that are right for `right` tokens and wrong from there on, at every alignment to 4 and across 128.
  constexpr std::int64_t kAnswer = 13;
  for (std::size_t begin = 121; begin <= 124; ++begin) {
    const model::Snapshot kept = keep(*rig_, rig_->prompt(begin));
    const GenerationOptions plain_options{.max_tokens = kAnswer, .drafts = DraftMode::kOff};
    const Answer plain = answer_from(*rig_, kept, rig_->prompt(begin), plain_options);
    for (std::int64_t right = 0; right <= 5; ++right) {
      GeneratorOptions how;
      std::int64_t wrong = 0;
      how.edit_drafts = [&](const Sequence& sequence, std::span<std::int64_t> drafts) {
        const auto next = sequence.tokens().size() - begin;
        for (std::size_t i = 0; i < drafts.size(); ++i) {
          drafts[i] = plain.tokens[next + i];
          if (static_cast<std::int64_t>(i) < right) continue;
          drafts[i] = (drafts[i] + 1 + static_cast<std::int64_t>(i)) % 384;
          ++wrong;
        }
      };
      const GenerationOptions options{.max_tokens = kAnswer, .drafts = DraftMode::kOn};
      const Answer drafted = answer_from(*rig_, kept, rig_->prompt(begin), options, how);
      expect_equal(plain, drafted, fmt::format("prompt of {}, {} right drafts", begin, right));
      const auto& by_accepted = drafted.statistics.rounds_by_accepted;
      EXPECT_GE(drafted.statistics.drafted - drafted.statistics.accepted, wrong);
      for (std::size_t accepted = 0; accepted < by_accepted.size(); ++accepted) {
        EXPECT_TRUE(static_cast<std::int64_t>(accepted) <= right || by_accepted[accepted] == 0) << accepted;
      }
    }
  }
}

TEST_F(DSparkGeneration, NothingFollowsAStopTokenAmongAcceptedDrafts) {
  // The golden rounds accept 4 drafts in places: stopping at each of the first 30 tokens hits drafts and corrections.
  const model::Snapshot kept = keep(*rig_, rig_->prompt(200));
  for (std::size_t at = 0; at < 30; at += 3) {
    if (std::find(decode_.begin(), decode_.begin() + static_cast<std::ptrdiff_t>(at), decode_[at]) !=
        decode_.begin() + static_cast<std::ptrdiff_t>(at)) {
      continue;
    }
    GenerationOptions options{.max_tokens = 60, .stop_tokens = {decode_[at]}, .drafts = DraftMode::kOff};
    const Answer plain = answer_from(*rig_, kept, rig_->prompt(200), options);
    options.drafts = DraftMode::kOn;
    const Answer drafted = answer_from(*rig_, kept, rig_->prompt(200), options);
    EXPECT_EQ(plain.tokens.size(), at + 1);
    EXPECT_EQ(plain.reason, FinishReason::kStopToken);
    expect_equal(plain, drafted, "stop at " + std::to_string(at));
  }
}

TEST_F(DSparkGeneration, CompanyChangesNothing) {
  const std::size_t sizes[] = {3, 140, 61};
  std::vector<GenerationOptions> options(3);
  for (std::size_t i = 0; i < 3; ++i) {
    options[i] = {.sampling = {.temperature = 0.4 * static_cast<double>(i), .seed = i, .logprobs = 1},
                  .max_tokens = static_cast<std::int64_t>(14 + 5 * i),
                  .drafts = i == 1 ? DraftMode::kOff : DraftMode::kOn};
  }
  std::vector<Answer> alone;
  alone.reserve(3);
  for (std::size_t i = 0; i < 3; ++i) alone.push_back(answer(*rig_, rig_->prompt(sizes[i]), options[i]));
  std::vector<Sequence> sequences;
  sequences.reserve(3);
  std::vector<Recorder> recorders(3);
  std::vector<Sequence*> all;
  for (std::size_t i = 0; i < 3; ++i) sequences.push_back(rig_->sequence());
  for (std::size_t i = 0; i < 3; ++i) {
    ASSERT_TRUE(sequences[i].append(rig_->prompt(sizes[i])));
    ASSERT_TRUE(sequences[i].begin(options[i], recorders[i]));
    all.push_back(&sequences[i]);
  }
  Generator generator(*rig_->executor, {.chunk = 33});
  const Status status = generator.run(all);
  ASSERT_TRUE(status) << status.error().message;
  for (std::size_t i = 0; i < 3; ++i) {
    const Answer together = result(*rig_, sequences[i], recorders[i]);
    EXPECT_EQ(alone[i].tokens, together.tokens) << i;
    EXPECT_EQ(alone[i].logprobs, together.logprobs) << i;
    EXPECT_EQ(alone[i].length, together.length) << i;
  }
}

TEST_F(DSparkGeneration, CancelKeepsWhatIsDoneAndGoesOn) {
  const Answer whole = answer(*rig_, rig_->prompt(100), {.max_tokens = 20, .drafts = DraftMode::kOff});
  Generator generator(*rig_->executor, {.chunk = 16});
  Sequence sequence = rig_->sequence();
  Sequence* const all[] = {&sequence};
  ASSERT_TRUE(sequence.append(rig_->prompt(100)));

  // In the middle of the prompt: whole chunks stay.
  Recorder first;
  ASSERT_TRUE(sequence.begin({.max_tokens = 20}, first));
  for (int step = 0; step < 3; ++step) ASSERT_TRUE(generator.step(all));
  std::stop_source source;
  source.request_stop();
  ASSERT_TRUE(generator.run(all, source.get_token()));
  EXPECT_EQ(sequence.reason(), FinishReason::kCancelled);
  EXPECT_EQ(sequence.state().length(), 48);
  EXPECT_EQ(sequence.pending(), 52);
  EXPECT_EQ(first.progress.back(), (std::pair<std::int64_t, std::int64_t>{48, 100}));

  // In the middle of the answer, by the sink's wish.
  std::stop_source second_source;
  Recorder second;
  second.on_token = [&](Recorder& recorder) -> Status {
    if (recorder.tokens.size() == 7) second_source.request_stop();
    return {};
  };
  ASSERT_TRUE(sequence.begin({.max_tokens = 20, .drafts = DraftMode::kOff}, second));
  ASSERT_TRUE(generator.run(all, second_source.get_token()));
  EXPECT_EQ(sequence.reason(), FinishReason::kCancelled);
  EXPECT_EQ(second.progress.back(), (std::pair<std::int64_t, std::int64_t>{52, 52}));
  EXPECT_EQ(second.tokens.size(), 7U);

  Recorder third;
  ASSERT_TRUE(sequence.begin({.max_tokens = 13, .drafts = DraftMode::kOn}, third));
  ASSERT_TRUE(generator.run(all));
  std::vector<std::int64_t> joined = second.tokens;
  joined.insert(joined.end(), third.tokens.begin(), third.tokens.end());
  EXPECT_EQ(joined, whole.tokens);
  EXPECT_TRUE(state_bytes(*rig_->pool, sequence.state(), rig_->model->config().compress_ratios) == whole.state);
}

TEST_F(DSparkGeneration, AnErrorOfTheSinkEndsTheAnswer) {
  Generator generator(*rig_->executor, {});
  Sequence sequence = rig_->sequence();
  Recorder recorder;
  recorder.on_token = [](Recorder& r) -> Status {
    if (r.tokens.size() == 3) return fail(ErrorCode::kUnavailable, "the reader has gone");
    return {};
  };
  ASSERT_TRUE(sequence.append(rig_->prompt(10)));
  ASSERT_TRUE(sequence.begin({.max_tokens = 20}, recorder));
  Sequence* const all[] = {&sequence};
  const Status status = generator.run(all);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().message, "the reader has gone");
  EXPECT_EQ(recorder.tokens.size(), 3U);
}

TEST_F(DSparkGeneration, EndsWhereTheContextIsFull) {
  std::vector<std::int64_t> prompt;
  while (prompt.size() < Rig::kContext - 6) prompt.insert(prompt.end(), rig_->tokens.begin(), rig_->tokens.end());
  prompt.resize(Rig::kContext - 6);
  Answer answers[2];
  for (const DraftMode mode : {DraftMode::kOff, DraftMode::kOn}) {
    answers[mode == DraftMode::kOn] = answer(*rig_, prompt, {.max_tokens = 100, .drafts = mode});
  }
  EXPECT_EQ(answers[0].reason, FinishReason::kContextFull);
  EXPECT_EQ(answers[0].tokens.size(), 6U);
  expect_equal(answers[0], answers[1], "full context");
}

TEST_F(DSparkGeneration, WrongRequestsAreRefused) {
  Sequence sequence = rig_->sequence();
  Recorder recorder;
  const auto message = [](const Status& status) { return status ? std::string() : status.error().message; };
  EXPECT_EQ(message(sequence.begin({}, recorder)), "there is nothing to answer: the prompt has no new tokens");
  const std::int64_t outside[] = {3, 384};
  EXPECT_EQ(message(sequence.append(outside)), "token id 384 at position 1 is outside the vocabulary of 384");
  EXPECT_EQ(sequence.tokens().size(), 0U);
  const std::vector<std::int64_t> much(Rig::kContext + 1, 5);
  EXPECT_NE(message(sequence.append(much)).find("has 513 tokens"), std::string::npos);
  ASSERT_TRUE(sequence.append(rig_->prompt(4)));
  EXPECT_NE(message(sequence.begin({.stop_strings = {"x"}}, recorder)).find("need a tokenizer"), std::string::npos);
  EXPECT_NE(message(sequence.begin({.sampling = {.temperature = -1}}, recorder)).find("temperature"),
            std::string::npos);
}

TEST_F(DSparkGeneration, StopStringsMatchAcrossTokens) {
  const auto tokenizer = text::Tokenizer::load(golden_path("text/tokenizer.json.zst").value());
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  const auto write = [&](const GenerationOptions& options, Recorder& recorder, Sequence& sequence) {
    ASSERT_TRUE(sequence.append(rig_->prompt(200)));
    ASSERT_TRUE(sequence.begin(options, recorder));
    Generator generator(*rig_->executor, {});
    Sequence* const all[] = {&sequence};
    ASSERT_TRUE(generator.run(all));
  };
  Recorder free;
  Sequence free_sequence = rig_->sequence(&*tokenizer);
  write({.max_tokens = 40, .drafts = DraftMode::kOff}, free, free_sequence);
  std::vector<std::int32_t> ids(free.tokens.begin(), free.tokens.end());
  EXPECT_EQ(free.text, tokenizer->decode(ids, {.skip_special = true}).value());

  // A stop string made of the end of one token's text and the beginning of the next one's, well inside the answer.
  int tried = 0;
  for (std::size_t token = 8; token + 1 < ids.size() && tried < 3; ++token) {
    const auto before = tokenizer->decode(std::span(ids).first(token), {.skip_special = true}).value();
    if (before.empty()) continue;
    const auto stop_begin = before.size() - 1;
    const auto whole = tokenizer->decode(std::span(ids).first(token + 1), {.skip_special = true}).value();
    if (whole.size() < before.size() + 1 || static_cast<unsigned char>(whole[stop_begin]) >= 0x80 ||
        static_cast<unsigned char>(whole[stop_begin + 1]) >= 0x80) {
      continue;
    }
    const std::string stop = whole.substr(stop_begin, 2);
    const std::string expected = free.text.substr(0, free.text.find(stop));
    ++tried;
    for (const DraftMode mode : {DraftMode::kOff, DraftMode::kOn}) {
      Recorder recorder;
      Sequence sequence = rig_->sequence(&*tokenizer);
      write({.max_tokens = 40, .stop_strings = {stop}, .drafts = mode}, recorder, sequence);
      EXPECT_EQ(recorder.text, expected);
      EXPECT_EQ(recorder.tail_text, "");
      EXPECT_EQ(sequence.reason(), FinishReason::kStopString);
      EXPECT_LE(recorder.tokens.size(), token + 1);
    }
  }
  EXPECT_EQ(tried, 3);
}

/// Answers with and without drafts of the MTP layer: the same tokens and the same state behind them.
void expect_drafting_changes_nothing(const Rig& rig) {
  ASSERT_EQ(rig.executor->draft_length(), 3);
  std::int64_t accepted = 0;
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    std::vector<std::int64_t> tokens[2];
    std::vector<std::byte> bytes[2];
    for (const DraftMode mode : {DraftMode::kOff, DraftMode::kOn}) {
      const std::size_t at = mode == DraftMode::kOn ? 1 : 0;
      Generator generator(*rig.executor, {});
      Sequence sequence = rig.sequence();
      Recorder recorder;
      ASSERT_TRUE(sequence.append(rig.prompt(126 + seed)));
      ASSERT_TRUE(sequence.begin(
          {.sampling = {.temperature = seed == 0 ? 0.0 : 0.8, .seed = seed}, .max_tokens = 24, .drafts = mode},
          recorder));
      Sequence* const all[] = {&sequence};
      const Status status = generator.run(all);
      ASSERT_TRUE(status) << status.error().message;
      tokens[at] = recorder.tokens;
      bytes[at] = state_bytes(*rig.pool, sequence.state(), rig.model->config().compress_ratios);
      EXPECT_EQ(sequence.statistics().rounds > 0, mode == DraftMode::kOn);
      accepted += sequence.statistics().accepted;
    }
    EXPECT_EQ(tokens[0], tokens[1]) << "seed " << seed;
    EXPECT_TRUE(bytes[0] == bytes[1]) << "seed " << seed;
  }
  EXPECT_GT(accepted, 0);
}

TEST(MtpGeneration, DraftingChangesNothingThatNanoSays) {
  const std::string directory = HADAL_SOURCE_DIR "/models/nano/checkpoint";
  const auto rig = Rig::open_checkpoint(directory, 3, Rig::kContext, Rig::kRows);
  ASSERT_NE(rig, nullptr);
  const auto tokenizer = text::Tokenizer::load(directory + "/tokenizer.json");
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  std::string story;
  for (int night = 0; night < 20; ++night) {
    story += fmt::format("On night {} the fox looked at the moon and said that it was time to go home. ", night);
  }
  const auto ids = tokenizer->encode(story).value();
  rig->tokens.assign(ids.begin(), ids.end());
  expect_drafting_changes_nothing(*rig);
}

TEST(MtpGeneration, DraftingChangesNothingThatTinyFlashSays) {
  if (!golden_path("tiny-flash/checkpoint"))
    GTEST_SKIP() << "the golden case tiny-flash, which is not copied, is not here";
  const auto rig = Rig::open("tiny-flash", 3);
  ASSERT_NE(rig, nullptr);
  expect_drafting_changes_nothing(*rig);
}

}  // namespace
}  // namespace hadal::engine
