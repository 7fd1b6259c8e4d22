#include "engine/json_constraint.h"

#include <gmock/gmock.h>

#include <random>
#include <string>

#include "testing/golden_path.h"
#include "text/json_text.h"

namespace hadal::engine {
namespace {

using hadal::testing::golden_path;

/// Whether the text is a beginning of an object, and a whole one.
struct Verdict {
  bool possible = true;
  bool complete = false;
};
Verdict verdict(std::string_view text) {
  JsonObjectState state;
  for (const char byte : text) {
    if (!state.advance(static_cast<std::uint8_t>(byte))) return {.possible = false, .complete = false};
  }
  return {.possible = true, .complete = state.complete()};
}

TEST(JsonObjectState, TakesObjectsAndTheirBeginnings) {
  for (const std::string text :
       {R"({})", R"({"a":1})", R"({"a": 1, "b": [true, false, null], "c": {"d": "e"}})", "{\n  \"a\": [\n    1\n  ]\n}",
        R"({"a":-0.5e+10,"b":0,"c":-0,"d":1E9,"e":12.25})", R"({"\u00e9\"\\\/\b\f\n\r\t":"\ud83d\ude00"})",
        "{\"\u00e9\u4e2d\U0001F600\":\"\u00e9\"}", R"({"a":[[],[[]],{}]})", R"({"a":""})"}) {
    SCOPED_TRACE(text);
    EXPECT_TRUE(verdict(text).complete);
    EXPECT_TRUE(text::is_json(text));
    for (std::size_t size = 0; size < text.size(); ++size) {
      EXPECT_TRUE(verdict(text.substr(0, size)).possible) << size;
      EXPECT_FALSE(verdict(text.substr(0, size)).complete) << size;
    }
  }
}

TEST(JsonObjectState, RefusesWhatIsNoObject) {
  for (const std::string text : {"[",
                                 " {",
                                 "1",
                                 "\"",
                                 "{,",
                                 "{a",
                                 "{1",
                                 R"({"a",)",
                                 R"({"a":,)",
                                 R"({"a":})",
                                 R"({"a":1,})",
                                 R"({"a":1]})",
                                 R"({"a":[1,])",
                                 R"({"a":[1})",
                                 R"({"a":01)",
                                 R"({"a":+1)",
                                 R"({"a":.5)",
                                 R"({"a":1.e)",
                                 R"({"a":1.})",
                                 R"({"a":1e})",
                                 R"({"a":-})",
                                 R"({"a":tru })",
                                 R"({"a":nul1)",
                                 R"({"a":NaN)",
                                 R"({"a":"\x)",
                                 R"({"a":"\u12g)",
                                 R"({"a":"\udc)",
                                 R"({"a":"\ud800")",
                                 R"({"a":"\ud800\u0)",
                                 R"({"a":"\ud800\ud8)",
                                 "{\"a\":\"\n",
                                 "{\"a\":\"\xC0",
                                 "{\"a\":\"\xED\xA0",
                                 "{\"a\":\"\xF4\x90",
                                 "{\"a\":\"\xE2\x28",
                                 "{}{",
                                 "{} ",
                                 "{  ",
                                 "{\n\n",
                                 "{\"a\":1e100",
                                 "{\"a\":12345678901234567890123456789012345678901"}) {
    EXPECT_FALSE(verdict(text).possible) << text;
  }
  std::string deep = "{\"a\":";
  for (int level = 1; level < JsonObjectState::kMostDepth; ++level) deep += '[';
  EXPECT_TRUE(verdict(deep).possible);
  EXPECT_FALSE(verdict(deep + "[").possible);
}

class JsonConstraintTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto loaded = text::Tokenizer::load(golden_path("text/tokenizer.json.zst").value());
    ASSERT_TRUE(loaded) << loaded.error().message;
    tokenizer_.emplace(std::move(*loaded));
    tokens_ = std::make_shared<const SortedTokens>(*tokenizer_, tokenizer_->vocab_size());
  }
  std::optional<text::Tokenizer> tokenizer_;
  std::shared_ptr<const SortedTokens> tokens_;
};

TEST_F(JsonConstraintTest, AllowsExactlyTheTokensThatCanFollow) {
  for (const std::string text : {"", "{", "{\"ke", "{\"key\"", "{\"a\":", "{\"a\":\"\\", "{\"a\":\"\\ud83d",
                                 "{\"a\":-1", "{\"a\":[1,", "{\"a\":[{}", "{\"a\":tr", "{\"a\":\"\xE4\xB8", "{}"}) {
    SCOPED_TRACE(text);
    JsonObjectState state;
    for (const char byte : text) ASSERT_TRUE(state.advance(static_cast<std::uint8_t>(byte)));
    std::vector<std::uint64_t> mask(static_cast<std::size_t>(tokens_->vocab_size() + 63) / 64);
    tokens_->allow(state, [](JsonObjectState& at, std::uint8_t byte) { return at.advance(byte); }, mask);
    for (std::int32_t id = 0; id < tokens_->vocab_size(); ++id) {
      const std::string_view bytes = tokenizer_->token_bytes(id);
      JsonObjectState next = state;
      bool expected = tokenizer_->has(id) && !tokenizer_->is_added(id) && !bytes.empty();
      for (const char byte : bytes) expected = expected && next.advance(static_cast<std::uint8_t>(byte));
      const bool got = (mask[static_cast<std::size_t>(id) / 64] >> (id % 64) & 1) != 0;
      ASSERT_EQ(got, expected) << id << " " << bytes;
    }
  }
}

TEST_F(JsonConstraintTest, RandomChoicesEndInAnObjectThatParses) {
  std::mt19937 random(5);
  int complete = 0;
  for (int round = 0; round < 60; ++round) {
    JsonConstraint constraint(tokens_);
    std::string text;
    for (int step = 0; step < 120 && !constraint.complete(); ++step) {
      ChoiceLimits limits;
      constraint.limit(limits);
      const auto allowed = limits.allowed;
      std::vector<std::int64_t> choices;
      for (std::int64_t id = 0; id < tokens_->vocab_size(); ++id) {
        if ((allowed[static_cast<std::size_t>(id) / 64] >> (id % 64) & 1) != 0) choices.push_back(id);
      }
      ASSERT_FALSE(choices.empty()) << "a dead end behind " << text;
      // Short tokens close strings and objects often enough.
      std::int64_t token = choices[random() % choices.size()];
      for (int again = 0; again < 40 && tokens_->bytes(token).size() > 1; ++again) {
        token = choices[random() % choices.size()];
      }
      ASSERT_TRUE(constraint.push(token));
      text += tokens_->bytes(token);
    }
    if (!constraint.complete()) continue;
    ++complete;
    const auto parsed = text::parse_json(text);
    ASSERT_TRUE(parsed) << text << ": " << parsed.error().message;
    EXPECT_TRUE(parsed->is(text::JsonKind::kObject));
  }
  EXPECT_GT(complete, 5);
}

TEST_F(JsonConstraintTest, GoesOnFromABeginningThatStandsInThePrompt) {
  JsonConstraint constraint(tokens_);
  ASSERT_TRUE(constraint.begin_with(R"({"a": [1, {"b": "c)"));
  std::unique_ptr<AnswerConstraint> copy = constraint.clone();
  for (const char* const piece : {"\"", "}", "]", "}"}) {
    EXPECT_FALSE(copy->complete());
    ASSERT_TRUE(copy->push(tokenizer_->encode(piece).value().front())) << piece;
  }
  EXPECT_TRUE(copy->complete());
  EXPECT_FALSE(constraint.complete());
  EXPECT_FALSE(JsonConstraint(tokens_).begin_with("Sure: {"));
}

TEST_F(JsonConstraintTest, RefusesTokensThatAreNotAllowed) {
  JsonConstraint constraint(tokens_);
  EXPECT_FALSE(constraint.push(tokenizer_->eos_id().value()));
  JsonConstraint other(tokens_);
  EXPECT_FALSE(other.push(tokenizer_->encode("hello").value().front()));
}

}  // namespace
}  // namespace hadal::engine
