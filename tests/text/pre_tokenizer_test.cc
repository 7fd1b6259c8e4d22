#include "text/pre_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "golden_text.h"
#include "random_text.h"
#include "text/tokenizer_json.h"
#include "text/unicode_classes.h"
#include "text/zstd_file.h"

namespace hadal::text {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const PreTokenizer& v4() {
  static const auto pre_tokenizer =
      PreTokenizer::compile(std::vector<std::string>(std::begin(kV4Patterns), std::end(kV4Patterns)));
  return *pre_tokenizer;
}

std::vector<std::string> pieces(const PreTokenizer& pre_tokenizer, std::string_view text) {
  std::vector<std::string> out;
  EXPECT_TRUE(pre_tokenizer.for_each_piece(text, [&out](std::string_view piece) { out.emplace_back(piece); }));
  return out;
}

std::vector<std::int64_t> scanned_ends(std::string_view text) {
  std::vector<std::int64_t> ends;
  EXPECT_TRUE(v4().for_each_piece(
      text, [&](std::string_view piece) { ends.push_back(piece.data() + piece.size() - text.data()); }));
  return ends;
}

TEST(PreTokenizer, TheGoldenFileHasV4sPatterns) {
  const auto json = read_zstd_file(golden_text() / "tokenizer.json.zst", 64 << 20);
  ASSERT_TRUE(json);
  const auto file = read_tokenizer_json(*json);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_THAT(file->split_patterns, ElementsAre(kV4Patterns[0], kV4Patterns[1], kV4Patterns[2]));
  EXPECT_TRUE(PreTokenizer::compile(file->split_patterns)->is_v4());
}

// Doubled characters: a pattern that matches one character puts a border between the two exactly where it matches.
TEST(PreTokenizer, ClassesOfAllCodePointsEqualPcre2WithTheAdditions) {
  std::string text;
  std::vector<std::pair<char32_t, std::int64_t>> middles;
  for (char32_t code_point = 0; code_point < 0x110000; ++code_point) {
    if (code_point >= 0xD800 && code_point < 0xE000) continue;
    append_utf8(code_point, text);
    middles.emplace_back(code_point, static_cast<std::int64_t>(text.size()));
    append_utf8(code_point, text);
  }
  const auto is = [](CharClass value) {
    return [value](ClassByte byte) { return (byte & ~kHanBit) == static_cast<int>(value); };
  };
  const std::vector<std::pair<std::string, std::function<bool(ClassByte)>>> classes = {
      {R"([\p{L}\p{M}])", is(CharClass::kLetterOrMark)},
      {R"(\p{N})", is(CharClass::kNumber)},
      {R"([\p{P}\p{S}])", is(CharClass::kPunctuationOrSymbol)},
      {R"([\r\n])", is(CharClass::kNewline)},
      {R"(\s)", [&](ClassByte byte) { return is(CharClass::kSpace)(byte) || is(CharClass::kNewline)(byte); }},
      {"[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]", [](ClassByte byte) { return (byte & kHanBit) != 0; }},
  };
  for (const auto& [pattern, expected] : classes) {
    const auto split = RegexSplit::compile(pattern);
    ASSERT_TRUE(split) << split.error().message;
    std::vector<std::int64_t> ends;
    ASSERT_TRUE(split->split(text, 0, ends));
    std::size_t next = 0;
    int members = 0;
    for (const auto& [code_point, middle] : middles) {
      while (next < ends.size() && ends[next] < middle) ++next;
      const bool matched = next < ends.size() && ends[next] == middle;
      ASSERT_EQ(expected(ClassTable::get()[code_point]), matched)
          << pattern << " U+" << std::hex << static_cast<std::uint32_t>(code_point);
      members += matched ? 1 : 0;
    }
    EXPECT_GT(members, 1) << pattern;
  }
}

TEST(PreTokenizer, TheScannerCutsRandomTextsAsTheThreeSplitsDo) {
  for (std::uint32_t number = 0; number < 100'000; ++number) {
    Random random(1, number);
    const std::string text = random_text(random, 24);
    const auto expected = v4().piece_ends(text);
    ASSERT_TRUE(expected);
    ASSERT_EQ(scanned_ends(text), *expected) << "case " << number << ": " << testing::PrintToString(text);
  }
}

TEST(PreTokenizer, SplitsSeeOnlyTheirPiece) {
  EXPECT_THAT(pieces(v4(), "1234 56"), ElementsAre("123", "4", " ", "56"));
  EXPECT_THAT(pieces(v4(), "  中"), ElementsAre("  ", "中"));
  EXPECT_THAT(pieces(v4(), "  a"), ElementsAre(" ", " a"));
  EXPECT_THAT(pieces(v4(), "中・文a"), ElementsAre("中", "・", "文", "a"));
  EXPECT_THAT(pieces(v4(), ".foo 't"), ElementsAre(".foo", " '", "t"));
  EXPECT_THAT(pieces(v4(), "a \n b"), ElementsAre("a", " \n", " b"));
  EXPECT_THAT(pieces(v4(), ""), ElementsAre());
}

TEST(PreTokenizer, LongRunsAreCutTheSameWayByBoth) {
  constexpr std::size_t kLength = 300'000;
  for (const std::string unit : {" ", "A", "!", "\n", "中", "7", "\u0301", "\u200D", " \t", "a "}) {
    std::string text;
    while (text.size() < kLength) text += unit;
    for (const char* tail : {"", "x", "\n", "1"}) {
      const auto expected = v4().piece_ends(text + tail);
      ASSERT_TRUE(expected) << expected.error().message;
      ASSERT_EQ(scanned_ends(text + tail), *expected) << testing::PrintToString(unit) << " then " << tail;
    }
  }
}

TEST(PreTokenizer, OtherPatternsRunInSequence) {
  const auto pre_tokenizer =
      PreTokenizer::compile({R"(\p{N})", R"((?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"});
  ASSERT_TRUE(pre_tokenizer) << pre_tokenizer.error().message;
  EXPECT_FALSE(pre_tokenizer->is_v4());
  EXPECT_THAT(pieces(*pre_tokenizer, "it'S 42  is\n"), ElementsAre("it", "'S", " ", "4", "2", " ", " is", "\n"));
  const auto none = PreTokenizer::compile({});
  EXPECT_THAT(pieces(*none, "all of it"), ElementsAre("all of it"));
}

TEST(RegexSplit, ClassesAreThoseOfUnicode16) {
  // U+11F02 (letter), U+11F50 (digit): added by Unicode 15. U+180E is no white space.
  const auto letters = PreTokenizer::compile({R"(\p{L})"});
  EXPECT_THAT(pieces(*letters, "\U00011F02\U00011F50\U00011F50"), ElementsAre("\U00011F02", "\U00011F50\U00011F50"));
  const auto others = PreTokenizer::compile({R"(\P{L})"});
  EXPECT_THAT(pieces(*others, "\U00011F02\U00011F50\U00011F50"), ElementsAre("\U00011F02", "\U00011F50", "\U00011F50"));
  const auto blanks = PreTokenizer::compile({R"(\S)"});
  EXPECT_THAT(pieces(*blanks, "\u180E\u180E\u3000\u3000"), ElementsAre("\u180E", "\u180E", "\u3000\u3000"));
}

TEST(RegexSplit, RefusesWhatAnotherEngineReadsDifferently) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "empty"},
      {"a*", "matches the empty text"},
      {"^a", "anchor"},
      {"a.", "dot"},
      {R"(\d)", R"(the escape \d)"},
      {R"(\w+)", R"(the escape \w)"},
      {R"(\p{Lu})", "a property other than"},
      {R"(\p{Han})", "a property other than"},
      {R"([\S])", R"(\S inside a class)"},
      {R"([\P{L}])", R"(\P inside a class)"},
      {R"([a[b]])", "a class inside a class"},
      {R"([a&&b])", "an intersection"},
      {R"([!-\s])", "a range that ends in a class"},
      {R"([\s-a])", "a range that begins with a class"},
      {"[a", "a class without its end"},
      {"[]", "an empty class"},
      {"a{1,3}+", "possessive"},
      {"a{x}", "a brace"},
      {"(?<name>a)", "a kind of group"},
      {"(?#note)a", "a kind of group"},
      {"(*UCP)a", "a kind of group"},
      {R"(\xAB)", R"(a \x without braces)"},
      {"a\\", "a backslash at its end"},
  };
  for (const auto& [pattern, message] : cases) {
    const auto split = RegexSplit::compile(pattern);
    ASSERT_FALSE(split) << pattern;
    EXPECT_EQ(split.error().code, ErrorCode::kUnsupported) << pattern;
    EXPECT_THAT(split.error().message, HasSubstr(message)) << pattern;
  }
  EXPECT_EQ(RegexSplit::compile("(a").error().code, ErrorCode::kCorrupt);
  EXPECT_TRUE(RegexSplit::compile(R"([-a\-\s]+|\x{4E00}{2,}|(?<!x)y)"));
}

TEST(RegexSplit, APatternThatExplodesIsGivenUp) {
  const auto split = RegexSplit::compile("(?:a|aa)+b");
  ASSERT_TRUE(split);
  std::vector<std::int64_t> ends;
  const auto status = split->split(std::string(400, 'a') + "cb", 0, ends);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kResourceExhausted);
}

}  // namespace
}  // namespace hadal::text
