// The commands render and parse as a user runs them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "program.h"

namespace hadal::e2e {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;
using testing::HasSubstr;

const std::string kGolden = HADAL_SOURCE_DIR "/tests/golden/text/";
const std::string kTokenizer = kGolden + "tokenizer.json.zst";

/// Runs `command --jsonl` on the lines of `file` without `results`, and expects those fields and the id in the answers.
void expect_golden(const std::string& command, const std::string& file, const std::vector<std::string>& results,
                   std::size_t count) {
  std::vector<json> expected;
  std::string input;
  std::ifstream lines(kGolden + file);
  for (std::string line; std::getline(lines, line);) {
    ordered_json object = ordered_json::parse(line);
    json answer = {{"id", object["id"]}};
    for (const std::string& field : results) {
      if (object.contains(field)) answer[field] = json::parse(object[field].dump());
      object.erase(field);
    }
    expected.push_back(std::move(answer));
    input += object.dump() + "\n";
  }
  ASSERT_EQ(expected.size(), count);
  const Finished finished = run_hadal({command, "--tokenizer", kTokenizer, "--jsonl"}, input);
  ASSERT_EQ(finished.exit_code, 0) << finished.err;
  std::istringstream answers(finished.out);
  std::size_t answered = 0;
  for (std::string line; std::getline(answers, line); ++answered) {
    ASSERT_LT(answered, count);
    EXPECT_EQ(json::parse(line), expected[answered]);
  }
  EXPECT_EQ(answered, count);
}

TEST(Render, AnswersTheGoldenLines) { expect_golden("render", "chat_render.jsonl", {"prompt", "ids", "error"}, 124); }
TEST(Parse, AnswersTheGoldenLines) { expect_golden("parse", "chat_parse.jsonl", {"expected"}, 57); }
TEST(Parse, AnswersTheGoldenStreams) { expect_golden("parse", "chat_stream.jsonl", {"emits", "at_finish"}, 42); }

TEST(Render, TakesTextsAndListsAndGivesIds) {
  EXPECT_EQ(run_hadal({"render", "--system", "S", "--user", "Hi", "--thinking-mode", "chat"}).out,
            "<｜begin▁of▁sentence｜>S<｜User｜>Hi<｜Assistant｜></think>");
  EXPECT_EQ(run_hadal({"render"}, R"([{"role": "user", "content": "Hi"}])").out,
            "<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜><think>");
  EXPECT_EQ(run_hadal({"render", "--user", "", "--ids", "--tokenizer", kTokenizer}).out, "0 128803 128804 128821\n");
}

TEST(Render, GuardedKeepsMarkersOfTheUserText) {
  const std::vector<std::string> arguments = {"render", "--user", "</think>", "--ids", "--tokenizer", kTokenizer};
  EXPECT_THAT(run_hadal(arguments).out, HasSubstr(" 128822 "));
  auto guarded = arguments;
  guarded.insert(guarded.end(), {"--mode", "guarded"});
  EXPECT_THAT(run_hadal(guarded).out, testing::Not(HasSubstr(" 128822 ")));
}

TEST(Render, WrongInputHasItsExitCodeAndPlace) {
  const Finished line = run_hadal({"render", "--jsonl"}, "{\"messages\": []}\n\n{\"messages\": \n");
  EXPECT_EQ(line.exit_code, 4);
  EXPECT_EQ(line.err, "hadal: standard input, line 3: JSON text, byte 13: a value is missing\n");
  EXPECT_EQ(line.out, "{\"prompt\": \"<｜begin▁of▁sentence｜>\"}\n");
  const Finished role = run_hadal({"render"}, R"([{"role": "critic"}])");
  EXPECT_EQ(role.exit_code, 2);
  EXPECT_THAT(role.err, HasSubstr("messages[0].role: 'critic' is no role"));
  const Finished effort = run_hadal({"render", "--user", "x", "--revision", "2604", "--effort", "low"});
  EXPECT_EQ(effort.exit_code, 2);
  EXPECT_THAT(effort.err, HasSubstr("does not know 'low'; use high or max"));
  EXPECT_EQ(run_hadal({"render", "/no/such/file"}).exit_code, 3);
}

TEST(Parse, PrintsTheMessageOfATextAsAPersonHasIt) {
  EXPECT_EQ(run_hadal({"parse"}, "why</think>what").out,
            "{\"reasoning_content\": \"why\", \"content\": \"what\", \"tool_calls\": [], \"warnings\": []}\n");
  EXPECT_EQ(run_hadal({"parse", "--chat"}, "a\xFF").out,
            "{\"reasoning_content\": \"\", \"content\": \"a\uFFFD\", \"tool_calls\": [], \"warnings\": []}\n");
}

}  // namespace
}  // namespace hadal::e2e
