// The commands tokenize and detokenize as a user runs them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "program.h"

namespace hadal::e2e {
namespace {

using nlohmann::json;
using testing::HasSubstr;

const std::string kGolden = HADAL_SOURCE_DIR "/tests/golden/text/";
const std::string kTokenizer = kGolden + "tokenizer.json.zst";

// The golden lines of a file, and the same without `results` as the program's input.
struct Lines {
  std::vector<json> golden;
  std::string input;
};

Lines golden_lines(const std::string& name, const std::vector<std::string>& results) {
  Lines lines;
  std::ifstream file(kGolden + name);
  for (std::string line; std::getline(file, line);) {
    json object = json::parse(line);
    lines.golden.push_back(object);
    for (const std::string& field : results) object.erase(field);
    lines.input += object.dump() + "\n";
  }
  return lines;
}

void expect_results(const std::string& command, const std::string& file, const std::vector<std::string>& results,
                    std::size_t count) {
  auto dropped = results;
  dropped.emplace_back("ids_rle");
  const Lines lines = golden_lines(file, dropped);
  ASSERT_EQ(lines.golden.size(), count);
  const Finished finished = run_hadal({command, "--tokenizer", kTokenizer, "--jsonl"}, lines.input);
  ASSERT_EQ(finished.exit_code, 0) << finished.err;
  std::istringstream out(finished.out);
  std::string line;
  for (json golden : lines.golden) {
    ASSERT_TRUE(std::getline(out, line)) << "no answer to " << golden["id"];
    if (golden.contains("ids_rle")) {
      for (const json& run : golden["ids_rle"]) {
        for (int i = 0; i < run[1]; ++i) golden["ids"].push_back(run[0]);
      }
    }
    json expected{{"id", golden["id"]}};
    for (const std::string& field : results) {
      if (golden.contains(field)) expected[field] = golden[field];
    }
    EXPECT_EQ(json::parse(line), expected);
  }
  EXPECT_FALSE(std::getline(out, line)) << line;
}

TEST(Tokenize, GoldenTexts) { expect_results("tokenize", "tokenize.jsonl", {"ids", "ids_plain"}, 601); }
TEST(Tokenize, GoldenBytes) {
  expect_results("tokenize", "tokenize_bytes.jsonl", {"first_invalid", "replaced", "ids"}, 23);
}
TEST(Detokenize, GoldenStreams) { expect_results("detokenize", "detokenize.jsonl", {"pieces", "tail", "text"}, 57); }

TEST(Tokenize, TakesTextFromArgumentFileOrInput) {
  EXPECT_EQ(run_hadal({"tokenize", "--tokenizer", kTokenizer, "Hello, world!"}).out, "19923 14 2058 3\n");
  EXPECT_EQ(run_hadal({"tokenize", "--tokenizer", kTokenizer, "--json"}, "Hello").out, "[19923]\n");
  EXPECT_EQ(run_hadal({"tokenize", "--tokenizer", kTokenizer, "</think>"}).out, "128822\n");
  EXPECT_EQ(run_hadal({"tokenize", "--tokenizer", kTokenizer, "--file", kGolden + "../no.txt"}).exit_code, 3);
  const std::string licence = kGolden + "LICENSE.deepseek.txt";
  const Finished ids = run_hadal({"tokenize", "--tokenizer", kTokenizer, "--file", licence});
  std::ostringstream text;
  text << std::ifstream(licence).rdbuf();
  EXPECT_EQ(run_hadal({"detokenize", "--tokenizer", kTokenizer}, ids.out).out, text.str());
}

TEST(Tokenize, PlainTextHasNoAddedTokens) {
  const Finished plain = run_hadal({"tokenize", "--tokenizer", kTokenizer, "--plain", "<｜User｜>"});
  EXPECT_EQ(plain.out, "30 28217 6756 28217 32\n");
}

TEST(Tokenize, IllFormedInputNamesTheOffset) {
  const Finished strict = run_hadal({"tokenize", "--tokenizer", kTokenizer}, "ok\xFF");
  EXPECT_EQ(strict.exit_code, 2);
  EXPECT_THAT(strict.err, HasSubstr("0xFF at offset 2"));
  EXPECT_EQ(run_hadal({"tokenize", "--tokenizer", kTokenizer, "--lenient"}, "\xFF").out, "2808\n");
}

TEST(Tokenize, AMalformedLineIsNamedAfterTheAnswersBefore) {
  const Finished finished = run_hadal({"tokenize", "--tokenizer", kTokenizer, "--jsonl"},
                                      "{\"id\":1,\"text\":\"a\"}\n\n{\"id\":2,\"text\":\"a\"\n");
  EXPECT_EQ(finished.exit_code, 2);
  EXPECT_EQ(finished.out, "{\"id\":1,\"ids\":[67]}\n");
  EXPECT_THAT(finished.err, HasSubstr("line 3"));
  const Finished unknown = run_hadal({"detokenize", "--tokenizer", kTokenizer, "--jsonl"}, "{\"ids\":[129280]}\n");
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_THAT(unknown.err, HasSubstr("line 1: the tokenizer has no token 129280"));
}

TEST(Detokenize, TakesIdsInSeveralForms) {
  EXPECT_EQ(run_hadal({"detokenize", "--tokenizer", kTokenizer, "19923", "14", "2058"}).out, "Hello, world");
  EXPECT_EQ(run_hadal({"detokenize", "--tokenizer", kTokenizer}, "[19923, 14,\n2058]").out, "Hello, world");
  EXPECT_EQ(run_hadal({"detokenize", "--tokenizer", kTokenizer, "--json", "--skip-special", "67", "1", "271"}).out,
            "\"a\\n\\n\"\n");
  EXPECT_EQ(run_hadal({"detokenize", "--tokenizer", kTokenizer, "x"}).exit_code, 2);
}

TEST(Tokenize, AMissingOrWrongTokenizerIsOneSentence) {
  const Finished missing = run_hadal({"tokenize", "--tokenizer", "/nowhere/tokenizer.json", "a"});
  EXPECT_EQ(missing.exit_code, 3);
  EXPECT_THAT(missing.err, HasSubstr("/nowhere/tokenizer.json: "));
  const Finished wrong = run_hadal({"tokenize", "--tokenizer", kGolden + "LICENSE.deepseek.txt", "a"});
  EXPECT_EQ(wrong.exit_code, 4);
  EXPECT_THAT(wrong.err, HasSubstr("is not JSON"));
  EXPECT_EQ(run_hadal({"tokenize", "a"}).exit_code, 2);
}

}  // namespace
}  // namespace hadal::e2e
