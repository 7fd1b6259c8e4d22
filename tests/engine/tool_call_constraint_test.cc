#include "engine/tool_call_constraint.h"

#include <gmock/gmock.h>

#include <random>
#include <string>

#include "testing/golden_path.h"
#include "text/chat_markers.h"
#include "text/chat_parser.h"
#include "text/json_text.h"

namespace hadal::engine {
namespace {

using hadal::testing::golden_path;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class ToolCallConstraintTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto loaded = text::Tokenizer::load(golden_path("text/tokenizer.json.zst").value());
    ASSERT_TRUE(loaded) << loaded.error().message;
    tokenizer_.emplace(std::move(*loaded));
    tokens_ = std::make_shared<const SortedTokens>(*tokenizer_, tokenizer_->vocab_size());
    mark_ = tokenizer_->added_token_id(text::marker::kDsml).value();
  }

  [[nodiscard]] ToolCallConstraint constraint(bool required, std::int64_t most_calls = 128) const {
    return {tokens_,
            {.mark = mark_,
             .names = {"get_time", "get", "search-web", "get_weather"},
             .required = required,
             .most_calls = most_calls}};
  }

  /// How many of the text's tokens can stand where they stand; -1: all.
  [[nodiscard]] std::ptrdiff_t first_refused(ToolCallConstraint& constraint, std::string_view text) const {
    const std::vector<std::int32_t> ids = tokenizer_->encode(text).value();
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (!allowed(constraint, ids[i])) return static_cast<std::ptrdiff_t>(i);
      EXPECT_TRUE(constraint.push(ids[i])) << i;
    }
    return -1;
  }

  [[nodiscard]] static bool allowed(ToolCallConstraint& constraint, std::int64_t token) {
    if (constraint.complete()) return false;
    ChoiceLimits limits;
    constraint.limit(limits);
    return (limits.allowed[static_cast<std::size_t>(token) / 64] >> (token % 64) & 1) != 0;
  }

  std::optional<text::Tokenizer> tokenizer_;
  std::shared_ptr<const SortedTokens> tokens_;
  std::int64_t mark_ = -1;
};

constexpr std::string_view kTwoCalls =
    "\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"get_weather\">\n"
    "<｜DSML｜parameter name=\"city\" string=\"true\">Oslo </b> <｜DSML｜parameter>\n"
    "<｜DSML｜parameter name=\"days\" string=\"false\">3</｜DSML｜parameter>\n</｜DSML｜invoke>\n"
    "<｜DSML｜invoke name=\"get\">\n\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>";

/// kTwoCalls without the mark inside a value, which cannot stand there.
std::string two_calls() {
  std::string text(kTwoCalls);
  text.replace(text.find("<｜DSML｜parameter>"), std::string_view("<｜DSML｜parameter>").size(),
               "</｜DSML｜parameter>");
  return text;
}

TEST_F(ToolCallConstraintTest, TakesABlockInTheOfficialForm) {
  for (const bool required : {true, false}) {
    ToolCallConstraint tested = constraint(required);
    EXPECT_EQ(first_refused(tested, two_calls()), -1);
    EXPECT_TRUE(tested.complete());
  }
}

TEST_F(ToolCallConstraintTest, LeavesTextFreeUntilTheMark) {
  ToolCallConstraint tested = constraint(false);
  EXPECT_EQ(first_refused(tested, "I could call <tool_calls> now.</think> a<b 你好"), -1);
  EXPECT_FALSE(tested.complete());
  EXPECT_FALSE(allowed(tested, mark_)) << "the mark without '<' before it";
  EXPECT_TRUE(allowed(tested, tokenizer_->eos_id().value()));
  EXPECT_EQ(first_refused(tested, two_calls()), -1);
  EXPECT_TRUE(tested.complete());
}

TEST_F(ToolCallConstraintTest, RefusesOtherNamesAndBrokenTags) {
  const std::string begin = "\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"";
  for (const std::string& wrong :
       {std::string("Hello"), std::string("\n<｜DSML｜tool_calls>"), begin + "go\">", begin + "get_\">",
        begin + "get_weathers\">", begin + "\">", begin + "get\" x", begin + "get\">\n</｜DSML｜tool_calls>",
        begin + "get\">\n<｜DSML｜parameter string=\"true\">", begin + "get\">\n<｜DSML｜parameter name=\"\" ",
        begin + "get\">\n<｜DSML｜parameter name=\"a\" string=\"maybe\">",
        begin + "get\">\n<｜DSML｜parameter name=\"a\" string=\"true\">x</｜DSML｜invoke>",
        begin + "get\">\n\n<｜DSML｜parameter name=\"a\"",
        begin + "get\">\n</｜DSML｜invoke>\n</｜DSML｜tool_calls> more"}) {
    ToolCallConstraint tested = constraint(true);
    EXPECT_GE(first_refused(tested, wrong), 0) << wrong;
  }
}

TEST_F(ToolCallConstraintTest, EndsTheBlockBehindTheLastCallThatMayBe) {
  ToolCallConstraint one = constraint(true, 1);
  const std::string text = two_calls();
  const std::size_t second = text.find("<｜DSML｜invoke name=\"get\">");
  ASSERT_EQ(first_refused(one, text.substr(0, second)), -1);
  ASSERT_EQ(first_refused(one, "<"), -1);
  EXPECT_FALSE(allowed(one, mark_));
  EXPECT_EQ(first_refused(one, "/｜DSML｜tool_calls>"), -1);
  EXPECT_TRUE(one.complete());
}

TEST_F(ToolCallConstraintTest, RandomChoicesMakeCallsThatParse) {
  std::mt19937 random(7);
  int complete = 0;
  for (int round = 0; round < 10; ++round) {
    ToolCallConstraint tested = constraint(true, 3);
    text::ChatParser parser({.thinking = false});
    for (int step = 0; step < 400 && !tested.complete(); ++step) {
      ChoiceLimits limits;
      tested.limit(limits);
      std::vector<std::int64_t> choices;
      for (std::int64_t id = 0; id < tokens_->vocab_size(); ++id) {
        if ((limits.allowed[static_cast<std::size_t>(id) / 64] >> (id % 64) & 1) != 0) choices.push_back(id);
      }
      ASSERT_FALSE(choices.empty()) << "a dead end behind " << step << " tokens";
      std::int64_t token = choices[random() % choices.size()];
      // In a value nearly everything may follow: end it often, by its own tag.
      const std::int64_t slash = tokenizer_->encode("</").value().front();
      if (random() % 2 == 0 && allowed(tested, slash)) token = slash;
      if (allowed(tested, mark_) && random() % 4 != 0) token = mark_;
      ASSERT_TRUE(tested.push(token));
      (void)parser.push(tokenizer_->token_bytes(static_cast<std::int32_t>(token)));
    }
    if (!tested.complete()) continue;
    ++complete;
    (void)parser.finish(text::StopReason::kStop);
    const text::ParsedMessage& message = parser.message();
    EXPECT_EQ(message.content, "");
    ASSERT_GE(message.tool_calls.size(), 1U);
    ASSERT_LE(message.tool_calls.size(), 3U);
    for (const text::ParsedCall& call : message.tool_calls) {
      EXPECT_THAT((std::vector<std::string>{"get_time", "get", "search-web", "get_weather"}),
                  ::testing::Contains(call.name));
      EXPECT_TRUE(call.complete);
    }
  }
  EXPECT_GT(complete, 5);
}

}  // namespace
}  // namespace hadal::engine
