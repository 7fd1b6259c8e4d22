#include "engine/recall.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "testing/byte_tokenizer.h"

namespace hadal::engine {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

class Recall : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string words;
    for (int paragraph = 0; paragraph < 60; ++paragraph) {
      words += "Paragraph " + std::to_string(paragraph) + " tells of Alice, who had a drum in London and was ";
      words += std::string(static_cast<std::size_t>(paragraph % 7), 'v') + " glad.\n\n";
    }
    ASSERT_TRUE(text_.add(tokenizer_, words));
    ASSERT_EQ(text_.paragraphs.size(), 60U);
  }
  std::string bytes(std::span<const std::int64_t> tokens) const {
    std::string all;
    for (const std::int64_t token : tokens) all += tokenizer_.token_bytes(static_cast<std::int32_t>(token));
    return all;
  }
  std::vector<RecallQuestion> make(const RecallOptions& options) const {
    auto questions = make_recall_questions(tokenizer_, 0, text_, options);
    EXPECT_TRUE(questions) << questions.error().message;
    return std::move(questions).value_or(std::vector<RecallQuestion>());
  }

  text::Tokenizer tokenizer_ = *text::Tokenizer::parse(testing::byte_tokenizer_json(384), "test");
  RecallText text_;
};

TEST_F(Recall, PutsTheFactBeforeTheDistance) {
  std::map<FactKind, int> kinds;
  std::set<std::size_t> answers;
  std::set<std::int64_t> places;
  const auto questions = make({.distance = 700, .questions = 60, .candidates = 8, .seed = 5});
  ASSERT_EQ(questions.size(), 60U);
  for (const RecallQuestion& question : questions) {
    const auto& [context, choices, answer] = question.sentence;
    ++kinds[question.kind];
    answers.insert(answer);
    places.insert(question.filler);
    EXPECT_EQ(std::set<std::string>(choices.begin(), choices.end()).size(), 8U);
    ASSERT_EQ(question.tokens.context.front(), 0);
    const std::string all = bytes(std::span(question.tokens.context).subspan(1));
    // text, fact, 700 tokens (here: bytes) of text that begin with a paragraph, the fact's beginning
    const std::string filler = bytes(std::span(text_.tokens).subspan(static_cast<std::size_t>(question.filler), 700));
    EXPECT_THAT(filler, ::testing::StartsWith("Paragraph "));
    const std::string end = context + choices[answer] + ".\n\n" + filler + context;
    EXPECT_THAT(all, EndsWith(end));
    const std::string before = all.substr(0, all.size() - end.size());
    EXPECT_EQ(before.size(), std::min<std::size_t>(64, static_cast<std::size_t>(question.filler)));
    for (std::size_t c = 0; c < choices.size(); ++c) {
      EXPECT_EQ(bytes(question.tokens.choices[c]), choices[c]);
      EXPECT_THAT(before + filler, Not(HasSubstr(choices[c].substr(1)))) << "only the fact names a candidate";
    }
  }
  EXPECT_EQ(kinds, (std::map<FactKind, int>{{FactKind::kPlace, 20}, {FactKind::kOwner, 20}, {FactKind::kNumber, 20}}));
  EXPECT_EQ(answers.size(), 8U);
  EXPECT_GT(places.size(), 20U);
  EXPECT_THAT(questions[0].sentence.context, AllOf(HasSubstr(" lives in"), Not(HasSubstr("Alice"))));
}

TEST_F(Recall, DependsOnTheSeedAlone) {
  const auto contexts = [&](const RecallOptions& options) {
    std::vector<std::vector<std::int64_t>> all;
    for (const RecallQuestion& question : make(options)) all.push_back(question.tokens.context);
    return all;
  };
  const auto first = contexts({.distance = 300, .questions = 12, .candidates = 4, .seed = 1});
  EXPECT_EQ(contexts({.distance = 300, .questions = 12, .candidates = 4, .seed = 1}), first);
  EXPECT_NE(contexts({.distance = 300, .questions = 12, .candidates = 4, .seed = 2}), first);
  // More questions begin with the same ones.
  auto more = contexts({.distance = 300, .questions = 20, .candidates = 4, .seed = 1});
  more.resize(12);
  EXPECT_EQ(more, first);
}

TEST_F(Recall, SaysWhatIsNotPossible) {
  const auto message = [&](const RecallOptions& options) {
    const auto questions = make_recall_questions(tokenizer_, 0, text_, options);
    EXPECT_FALSE(questions);
    return questions ? std::string() : questions.error().message;
  };
  EXPECT_THAT(message({.distance = 100000, .questions = 1}), HasSubstr("a distance of 100,000 tokens needs a longer"));
  EXPECT_THAT(message({.distance = 10, .questions = 1, .candidates = 1}), HasSubstr("there can be 2 to 16"));
  EXPECT_THAT(message({.distance = 10, .questions = 0}), HasSubstr("are not possible"));

  std::string every;  // a text that names all things of the number's kind leaves none to ask for
  for (const char* thing : {"camel", "beetle", "dolphin", "pepper", "cactus", "falcon", "comet", "walnut", "buffalo",
                            "zebra", "lantern", "magnet", "violet", "turnip", "parrot", "glacier"}) {
    every += std::string(thing) + " ";
  }
  RecallText full;
  ASSERT_TRUE(full.add(tokenizer_, every));
  const auto questions =
      make_recall_questions(tokenizer_, 0, full, {.distance = std::ssize(full.tokens), .questions = 3});
  ASSERT_FALSE(questions);
  EXPECT_THAT(questions.error().message, HasSubstr("the text has no place that lacks 8 of the words"));
}

}  // namespace
}  // namespace hadal::engine
