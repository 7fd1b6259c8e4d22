// What is measured of a model, against logits computed in straight passes and a softmax of the test's own.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "engine/choice.h"
#include "engine/compare.h"
#include "engine/one_answer.h"
#include "engine/perplexity.h"
#include "engine/rig.h"
#include "testing/byte_tokenizer.h"

namespace hadal::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// ln p of `token` in row `row` of logits [rows, vocab].
double log_probability(std::span<const float> logits, std::int64_t vocab, std::int64_t row, std::int64_t token) {
  const auto values = logits.subspan(static_cast<std::size_t>(row * vocab), static_cast<std::size_t>(vocab));
  double total = 0;
  for (const float value : values) total += std::exp(static_cast<double>(value));
  return values[static_cast<std::size_t>(token)] - std::log(total);
}

std::vector<float> straight_logits(const model::Model& model, std::span<const std::int64_t> tokens) {
  auto logits = testing::run_cell(model, tokens, {.chunk = 64});
  EXPECT_TRUE(logits) << logits.error().message;
  return *logits;
}

class Evaluation : public ::testing::Test {
 protected:
  void SetUp() override {
    rig_ = testing::Rig::open("tiny-dspark", 0);
    ASSERT_TRUE(rig_);
  }
  std::unique_ptr<testing::Rig> rig_;
};

TEST_F(Evaluation, ChoicesHaveTheLogarithmsOfTheWholeSequence) {
  const auto tokens = rig_->prompt(150);
  // Five choices through three forks: two rounds. One has a single token, two begin alike.
  ChoiceTokens question{.context = {tokens.begin(), tokens.begin() + 133},
                        .choices = {{5, 9, 200, 17}, {300}, {5, 9, 201}, {7, 7, 7, 7, 7, 7, 7}, {383, 0}}};
  const auto sums = choice_logprobs(*rig_->executor, question, 50);
  ASSERT_TRUE(sums) << sums.error().message;
  ASSERT_EQ(sums->size(), question.choices.size());
  const std::int64_t vocab = rig_->model->config().vocab_size;
  for (std::size_t c = 0; c < question.choices.size(); ++c) {
    std::vector<std::int64_t> whole = question.context;
    whole.insert(whole.end(), question.choices[c].begin(), question.choices[c].end());
    const std::vector<float> logits = straight_logits(*rig_->model, whole);
    double expected = 0;
    for (std::size_t t = question.context.size(); t < whole.size(); ++t) {
      expected += log_probability(logits, vocab, static_cast<std::int64_t>(t) - 1, whole[t]);
    }
    EXPECT_NEAR((*sums)[c], expected, 1e-9 * std::abs(expected)) << c;
  }
  // Neither the chunk nor who is fed beside a choice changes a bit.
  std::swap(question.choices[0], question.choices[3]);
  auto again = choice_logprobs(*rig_->executor, question, 7);
  ASSERT_TRUE(again);
  std::swap((*again)[0], (*again)[3]);
  EXPECT_EQ(*again, *sums);
  EXPECT_EQ(rig_->pool->free_slots(), testing::Rig::kSequences);
}

TEST_F(Evaluation, PerplexityOfWindowsIsThatOfTheirLogits) {
  const auto tokens = rig_->prompt(100);
  const auto measured = measure_perplexity(*rig_->executor, nullptr, tokens, {.window = 40, .stride = 0, .chunk = 16});
  ASSERT_TRUE(measured) << measured.error().message;
  // Windows begin at 0, 20, 40, 60; token 41 is the first that the second one measures.
  double bits = 0;
  std::int64_t next = 1;
  for (std::int64_t begin = 0; begin <= 60; begin += 20) {
    const std::vector<float> logits =
        straight_logits(*rig_->model, tokens.subspan(static_cast<std::size_t>(begin), 40));
    for (; next < std::min<std::int64_t>(begin + 41, 100); ++next) {
      bits -= log_probability(logits, rig_->model->config().vocab_size, next - 1 - begin,
                              tokens[static_cast<std::size_t>(next)]) /
              std::numbers::ln2;
    }
  }
  EXPECT_EQ(next, 100);
  EXPECT_EQ(measured->windows, 4);
  EXPECT_EQ(measured->tokens, 99);
  EXPECT_NEAR(measured->bits, bits, 1e-9 * bits);

  Perplexity twice = *measured;
  twice += *measured;
  EXPECT_EQ(twice.tokens, 198);
  EXPECT_EQ(twice.windows, 8);
  EXPECT_DOUBLE_EQ(twice.perplexity(), measured->perplexity());
}

TEST_F(Evaluation, DivergenceOfAnotherProfile) {
  const auto tokens = rig_->prompt(90);
  auto other = model::Model::load(*rig_->backend, *rig_->checkpoint, rig_->checkpoint->config(),
                                  *model::numerics_profile("bf16"));
  ASSERT_TRUE(other) << other.error().message;
  auto pool = model::StatePool::create(*rig_->backend, (*other)->state_layout(), 1, 1);
  ASSERT_TRUE(pool);
  // Other steps than the first one takes: 128 rows, 4 with logits.
  auto executor = model::Executor::create(**other, **pool,
                                          {.max_rows = 32, .max_sequences = 1, .max_logits_rows = 7, .max_tokens = 64});
  ASSERT_TRUE(executor) << executor.error().message;
  const auto measured = compare_models(*rig_->executor, **executor, tokens, {.window = 60, .stride = 0, .chunk = 16});
  ASSERT_TRUE(measured) << measured.error().message;

  // Windows begin at 0 and 30; token 61 is the first that the second one measures.
  const std::int64_t vocab = rig_->model->config().vocab_size;
  Divergence expected;
  std::int64_t next = 1;
  for (std::int64_t begin = 0; begin <= 30; begin += 30) {
    const auto part = tokens.subspan(static_cast<std::size_t>(begin), 60);
    const std::vector<float> p = straight_logits(*rig_->model, part);
    const std::vector<float> q = straight_logits(**other, part);
    for (; next < std::min<std::int64_t>(begin + 61, 90); ++next) {
      double nats = 0;
      std::pair<double, std::int64_t> best_p{-1e300, 0};
      std::pair<double, std::int64_t> best_q{-1e300, 0};
      for (std::int64_t v = 0; v < vocab; ++v) {
        const double ln_p = log_probability(p, vocab, next - 1 - begin, v);
        const double ln_q = log_probability(q, vocab, next - 1 - begin, v);
        nats += std::exp(ln_p) * (ln_p - ln_q);
        best_p = std::max(best_p, {ln_p, -v});
        best_q = std::max(best_q, {ln_q, -v});
      }
      const bool same = best_p.second == best_q.second;
      expected += {.tokens = 1, .agreements = same ? 1 : 0, .nats = nats, .largest = nats};
    }
  }
  EXPECT_EQ(measured->tokens, 89);
  EXPECT_EQ(measured->agreements, expected.agreements);
  EXPECT_GT(expected.nats, 1e-6);
  EXPECT_NEAR(measured->nats, expected.nats, 1e-6 * expected.nats);
  EXPECT_NEAR(measured->largest, expected.largest, 1e-6 * expected.largest);

  const auto itself = compare_models(**executor, **executor, tokens, {.window = 60, .stride = 0, .chunk = 16});
  ASSERT_FALSE(itself);  // its pool has room for one sequence
  EXPECT_EQ(itself.error().code, ErrorCode::kResourceExhausted);
  const auto same = compare_models(*rig_->executor, *rig_->executor, tokens, {.window = 60, .stride = 0, .chunk = 9});
  ASSERT_TRUE(same);
  EXPECT_EQ(same->nats, 0);
  EXPECT_EQ(same->agreement(), 1);
}

TEST(TextWindows, CoverEachTokenOnce) {
  for (const std::int64_t tokens : {2, 3, 8, 9, 10, 16, 17, 100}) {
    for (const std::int64_t window : {2, 3, 8}) {
      for (std::int64_t stride = 0; stride <= window; ++stride) {
        const auto windows = text_windows(tokens, window, stride);
        ASSERT_TRUE(windows);
        std::int64_t next = 1;
        for (const TextWindow& part : *windows) {
          EXPECT_EQ(part.first_measured, next);
          EXPECT_GE(part.first_measured, part.begin + 1);
          EXPECT_LE(part.fed, window);
          next = part.begin + part.fed + 1;
          EXPECT_GT(next, part.first_measured);
        }
        EXPECT_EQ(next, tokens) << tokens << " tokens in windows of " << window << " by " << stride;
      }
    }
  }
  EXPECT_FALSE(text_windows(1, 8, 0));
  EXPECT_FALSE(text_windows(9, 8, 9));
  EXPECT_FALSE(text_windows(9, 8, -1));
  EXPECT_FALSE(text_windows(9, 1, 1));
}

TEST(ChoiceTokens, AreThoseOfTheWholeText) {
  const auto tokenizer = text::Tokenizer::parse(testing::byte_tokenizer_json(384), "test");
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  const std::vector<std::int64_t> bos{0};
  const auto tokens = choice_tokens(*tokenizer, bos, {.context = "ab", .choices = {"c", "de"}, .answer = 1});
  ASSERT_TRUE(tokens);
  EXPECT_THAT(tokens->context, ElementsAre(0, 3 + 'a', 3 + 'b'));
  EXPECT_THAT(tokens->choices, ElementsAre(ElementsAre(3 + 'c'), ElementsAre(3 + 'd', 3 + 'e')));
  EXPECT_EQ(tokens->longest(), 5);

  // V4's tokens: "Paris is the capi" + "tal" has a token that reaches over the border.
  const auto v4 = text::Tokenizer::load(HADAL_SOURCE_DIR "/tests/golden/text/tokenizer.json.zst");
  ASSERT_TRUE(v4) << v4.error().message;
  const ChoiceQuestion question{.context = "Paris is the capi", .choices = {"tal of France", "tol"}, .answer = 0};
  const auto whole = choice_tokens(*v4, bos, question);
  ASSERT_TRUE(whole);
  for (std::size_t c = 0; c < 2; ++c) {
    std::vector<std::int32_t> ids(whole->context.begin() + 1, whole->context.end());
    ids.insert(ids.end(), whole->choices[c].begin(), whole->choices[c].end());
    EXPECT_EQ(ids, *v4->encode(question.context + question.choices[c]));
  }
  EXPECT_EQ(*v4->decode(std::vector<std::int32_t>(whole->context.begin() + 1, whole->context.end())), "Paris is the");
}

TEST(ChoiceTally, CountsAnswersAndChance) {
  ChoiceTally tally;
  const ChoiceQuestion question{.context = "", .choices = {"a", "bbbb"}, .answer = 1};
  tally.add(question, std::vector<double>{-1, -2});    // by sum wrong, by byte right
  tally.add(question, std::vector<double>{-3, -2});    // both right
  tally.add(question, std::vector<double>{-1, -4.5});  // both wrong
  tally.add({.context = "", .choices = {"a", "b", "c", "d"}, .answer = 0}, std::vector<double>{-1, -1, -2, -3});
  EXPECT_EQ(tally.questions, 4);
  EXPECT_EQ(tally.correct, 2);
  EXPECT_EQ(tally.correct_per_byte, 3);
  EXPECT_DOUBLE_EQ(tally.chance(), (0.5 + 0.5 + 0.5 + 0.25) / 4);
  EXPECT_DOUBLE_EQ(tally.standard_error(tally.accuracy()), 0.25);
}

TEST(ChoiceQuestion, SaysWhatIsWrong) {
  const auto good = parse_choice_question(R"({"context": "x", "choices": ["a", "b"], "answer": 1, "id": "7"})");
  ASSERT_TRUE(good) << good.error().message;
  EXPECT_EQ(good->context, "x");
  EXPECT_THAT(good->choices, ElementsAre("a", "b"));
  EXPECT_EQ(good->answer, 1U);
  const std::pair<const char*, const char*> cases[] = {
      {R"([1])", "is not a JSON object"},
      {R"({"choices": ["a", "b"], "answer": 1})", "'context' is not a text"},
      {R"({"context": "x", "choices": ["a"], "answer": 0})", "'choices' is not a list of at least two texts"},
      {R"({"context": "x", "choices": ["a", 2], "answer": 0})", "'choices'[1] is not a text"},
      {R"({"context": "x", "choices": ["a", ""], "answer": 0})", "'choices'[1] is empty"},
      {R"({"context": "x", "choices": ["a", "b"], "answer": 2})", "'answer' is not the index of one of the 2 choices"},
      {R"({"context": "x", "choices": ["a", "b"], "answer": -1})", "'answer' is not the index"},
      {R"({"context": "x", "choices": ["a", "b"], "answer": 0.5})", "'answer' is not the index"},
      {R"({"context": "x", "choices": ["a", "b"]})", "'answer' is not the index"},
      {R"({"context": "x",)", ""},
  };
  for (const auto& [json, words] : cases) {
    const auto question = parse_choice_question(json);
    ASSERT_FALSE(question) << json;
    EXPECT_THAT(question.error().message, HasSubstr(words));
  }
}

}  // namespace
}  // namespace hadal::engine
