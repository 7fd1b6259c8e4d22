// `hadal data prepare` as a person uses it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "program.h"
#include "testing/temp_directory.h"

namespace hadal::e2e {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing_support::read_text;
using testing_support::TempDirectory;
using testing_support::write_text;

class DataPrepare : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(folder_ / "texts");
    for (int file = 0; file < 3; ++file) {
      std::string text;
      for (int line = 0; line < 200; ++line) {
        text += "Line " + std::to_string(line) + " of my own text number " + std::to_string(file) + ".\n";
      }
      write_text(folder_ / "texts" / ("text" + std::to_string(file) + ".txt"), text);
    }
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  TempDirectory folder_;
};

TEST_F(DataPrepare, TurnsAFolderOfTextsIntoTokens) {
  const Finished run = run_hadal({"data", "prepare", path("texts"), "--train-tokenizer", "512", "--out", path("out")});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(run.err, "");
  EXPECT_THAT(run.out, HasSubstr("train/texts"));
  EXPECT_THAT(run.out, HasSubstr("texts: 3 records read"));

  // The tokenizer that it has made works in the other commands, and gives back the text.
  const Finished ids = run_hadal({"tokenize", "--tokenizer", path("out"), "Line 7 of my own text number 2."});
  ASSERT_EQ(ids.exit_code, 0) << ids.err;
  const Finished text = run_hadal({"detokenize", "--tokenizer", path("out")}, ids.out);
  EXPECT_EQ(text.out, "Line 7 of my own text number 2.");

  const Finished again = run_hadal(
      {"data", "prepare", path("texts"), "--tokenizer", path("out"), "--split", "0", "--out", path("again"), "--json"});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  const json report = json::parse(again.out);
  EXPECT_EQ(report["vocab_size"], 512);
  EXPECT_EQ(report["sets"][0]["folder"], "train/texts");
  EXPECT_EQ(report["sets"][0]["documents"], 3);
  EXPECT_EQ(report, json::parse(read_text(folder_ / "again/prepared.json")));
}

TEST_F(DataPrepare, SaysInOneSentenceWhatIsWrong) {
  struct Case {
    std::vector<std::string> arguments;
    int exit_code;
    std::string words;
  };
  write_text(folder_ / "bad.jsonl", "{\"text\": \"good\"}\n{text: bad}\n");
  const std::vector<Case> cases = {
      {{path("none"), "--train-tokenizer", "512", "--out", path("x")}, 3, "none: there is no such file or folder"},
      {{path("bad.jsonl"), "--train-tokenizer", "512", "--out", path("x")}, 4, "bad.jsonl, line 2: "},
      {{path("texts"), "--train-tokenizer", "12", "--out", path("x")}, 2, "a vocabulary of 12 entries is not possible"},
      {{path("texts"), "--train-tokenizer", "512", "--out", path("texts")}, 2, "exists already"},
      {{path("texts"), "--tokenizer", path("texts"), "--out", path("x")}, 3, "holds neither tokenizer.json"},
      {{path("texts"), "--train-tokenizer", "512", "--split", "many", "--out", path("x")}, 2, "--split: 'many'"},
      {{path("texts"), "--train-tokenizer", "512", "--weight", "texts", "--out", path("x")}, 2, "GROUP=NUMBER"},
      {{path("texts"), "--train-tokenizer", "512", "--out", "/proc/none/x"}, 7, "cannot be made"},
  };
  for (const Case& wrong : cases) {
    std::vector<std::string> arguments = {"data", "prepare"};
    arguments.insert(arguments.end(), wrong.arguments.begin(), wrong.arguments.end());
    const Finished run = run_hadal(arguments);
    EXPECT_EQ(run.exit_code, wrong.exit_code) << run.err;
    EXPECT_THAT(run.err, HasSubstr(wrong.words));
    EXPECT_EQ(std::count(run.err.begin(), run.err.end(), '\n'), 1) << run.err;
    EXPECT_FALSE(std::filesystem::exists(folder_ / "x"));
    EXPECT_FALSE(std::filesystem::exists(folder_ / "x.partial"));
  }
}

}  // namespace
}  // namespace hadal::e2e
