#include "text/stop_strings.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace hadal::text {
namespace {

struct Outcome {
  std::string text;
  bool stopped = false;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

void PrintTo(const Outcome& outcome, std::ostream* out) { *out << '"' << outcome.text << "\" " << outcome.stopped; }

Outcome run(const std::vector<std::string>& stops, std::string_view text, std::size_t size) {
  StopStrings matcher(stops);
  Outcome outcome;
  for (std::size_t begin = 0; begin < text.size() && !outcome.stopped; begin += size) {
    outcome.stopped = matcher.push(text.substr(begin, size), outcome.text);
  }
  if (!outcome.stopped) matcher.finish(outcome.text);
  return outcome;
}

TEST(StopStrings, ResultDoesNotDependOnTheCut) {
  struct Case {
    std::vector<std::string> stops;
    std::string text;
    Outcome expected;
  };
  const std::vector<Case> cases{
      {{}, "abc", {"abc", false}},
      {{"b"}, "abc", {"a", true}},
      {{"END"}, "the ENEND of it", {"the EN", true}},
      {{"aab"}, "aaaab", {"aa", true}},
      {{"abcd", "bc"}, "xabcd", {"xa", true}},  // "bc" ends first
      {{"cd", "abcd"}, "xabcde", {"x", true}},  // both end together: the longer one
      {{"\n\nUser:"}, "one\n\nUse", {"one\n\nUse", false}},
      {{"\xC3\xA9"}, "caf\xC3\xA9s", {"caf", true}},
      {{"abab"}, "abaabab", {"aba", true}},
  };
  for (const Case& test : cases) {
    for (std::size_t size = 1; size <= test.text.size(); ++size) {
      EXPECT_EQ(run(test.stops, test.text, size), test.expected) << test.text << " in pieces of " << size;
    }
  }
}

TEST(StopStrings, HoldsBackOnlyWhatMayStillMatch) {
  StopStrings matcher({"stop!"});
  std::string out;
  EXPECT_FALSE(matcher.push("go sto", out));
  EXPECT_EQ(out, "go ");
  EXPECT_FALSE(matcher.push("re s", out));
  EXPECT_EQ(out, "go store ");
  EXPECT_TRUE(matcher.push("top!more", out));
  EXPECT_EQ(out, "go store ");
}

TEST(StopStrings, NamesTheMatch) {
  StopStrings matcher({"yz", "xyz"});
  std::string out;
  EXPECT_FALSE(matcher.push("ax", out));
  EXPECT_EQ(matcher.match(), "");
  EXPECT_TRUE(matcher.push("yzb", out));
  EXPECT_EQ(matcher.match(), "xyz");
  EXPECT_EQ(out, "a");
}

}  // namespace
}  // namespace hadal::text
