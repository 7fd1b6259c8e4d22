// `hadal eval` as a person uses it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "program.h"
#include "testing/byte_tokenizer.h"
#include "testing/temp_directory.h"

namespace hadal::e2e {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using testing_support::TempDirectory;
using testing_support::write_text;

const std::string kCheckpoint = HADAL_SOURCE_DIR "/tests/golden/tiny-dspark/checkpoint";

class Eval : public ::testing::Test {
 protected:
  void SetUp() override { write_text(folder_ / "tokenizer.json", testing::byte_tokenizer_json(384)); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  Finished eval(const std::string& what, std::vector<std::string> more) const {
    std::vector<std::string> arguments = {"eval", what, kCheckpoint, "--tokenizer", path("tokenizer.json")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_hadal(arguments);
  }

  /// The JSON object that a measurement prints.
  json measured(const std::string& what, std::vector<std::string> more) const {
    more.emplace_back("--json");
    const Finished run = eval(what, std::move(more));
    EXPECT_EQ(run.exit_code, 0) << run.err;
    return run.exit_code == 0 ? json::parse(run.out) : json();
  }

  /// Bits of `text` behind bos, as `hadal perplexity` says.
  double bits(const std::string& text, const std::string& context) const {
    write_text(folder_ / "one", text);
    const Finished run = run_hadal({"perplexity", kCheckpoint, path("one"), "--tokenizer", path("tokenizer.json"),
                                    "--bos", "--context", context, "--json"});
    EXPECT_EQ(run.exit_code, 0) << run.err;
    return json::parse(run.out)["bits"];
  }

  struct Wrong {
    std::string what;
    std::vector<std::string> arguments;
    int exit_code;
    std::string words;
  };
  void expect_refused(const std::vector<Wrong>& cases) const {
    for (const Wrong& wrong : cases) {
      const Finished run = eval(wrong.what, wrong.arguments);
      EXPECT_EQ(run.exit_code, wrong.exit_code) << wrong.words << ": " << run.err;
      EXPECT_THAT(run.err, HasSubstr(wrong.words));
      EXPECT_EQ(std::count(run.err.begin(), run.err.end(), '\n'), 1) << run.err;
      EXPECT_EQ(run.out, "");
    }
  }

  TempDirectory folder_;
};

TEST_F(Eval, TextByFileAndSource) {
  write_text(folder_ / "plain.txt", "The fox ran home.");
  write_text(folder_ / "books.jsonl",
             "{\"text\": \"One piece.\", \"source\": \"pg\", \"book\": \"b\", \"chapter\": 1}\n"
             "{\"text\": \"And more of it.\", \"source\": \"pg\", \"book\": \"b\", \"chapter\": 2}\n"
             "{\"text\": \"Caf\xC3\xA9\", \"source\": \"se\"}\n"
             "{\"text\": \"  \"}\n");
  const json all = measured("text", {path("plain.txt"), path("books.jsonl"), "--context", "12"});
  ASSERT_EQ(all["files"].size(), 2U);
  const double plain = bits("The fox ran home.", "12");
  const double book = bits("One piece.\n\nAnd more of it.", "12");
  const double cafe = bits("Caf\xC3\xA9", "12");
  EXPECT_EQ(all["files"][0]["file"], path("plain.txt"));
  EXPECT_EQ(all["files"][0]["bits"].get<double>(), plain);
  EXPECT_EQ(all["files"][1]["documents"], 2);
  EXPECT_DOUBLE_EQ(all["files"][1]["bits"].get<double>(), book + cafe);
  ASSERT_EQ(all["sources"].size(), 3U);
  std::map<std::string, json> sources;
  for (const json& source : all["sources"]) sources[source["source"]] = source;
  EXPECT_EQ(sources["pg"]["bits"].get<double>(), book);
  EXPECT_EQ(sources["pg"]["bytes"], 27);
  EXPECT_EQ(sources["se"]["bits"].get<double>(), cafe);
  EXPECT_EQ(all["dropped"], 1);
  const json& total = all["total"];
  EXPECT_EQ(total["bytes"], 17 + 27 + 5);
  EXPECT_EQ(total["tokens"], 17 + 27 + 5);
  EXPECT_DOUBLE_EQ(total["tokens_per_byte"].get<double>(), 1);
  EXPECT_DOUBLE_EQ(total["bits_per_byte"].get<double>(), (plain + book + cafe) / 49);
  EXPECT_DOUBLE_EQ(total["perplexity"].get<double>(), std::exp2((plain + book + cafe) / 49));

  const json threads = measured("text", {path("plain.txt"), path("books.jsonl"), "--context", "12", "--threads", "1"});
  EXPECT_EQ(threads, all);
}

TEST_F(Eval, TextCutsAndSplitsAsTold) {
  write_text(folder_ / "book.jsonl",
             "{\"text\": \"One piece.\", \"book\": \"b\", \"chapter\": 1}\n"
             "{\"text\": \"Caf\xC3\xA9 au lait\", \"book\": \"b\", \"chapter\": 1}\n"
             "{\"text\": \"Never read.\"}\n");
  // 14 bytes end inside the e with an accent.
  const json cut = measured("text", {path("book.jsonl"), "--no-join", "--limit-bytes", "14"});
  EXPECT_EQ(cut["total"]["documents"], 2);
  EXPECT_EQ(cut["total"]["bytes"], 13);
  EXPECT_DOUBLE_EQ(cut["total"]["bits"].get<double>(), bits("One piece.", "100") + bits("Caf", "100"));
  const Finished table = eval("text", {path("book.jsonl"), "--no-join"});
  EXPECT_THAT(table.out, HasSubstr("bits/byte"));
  EXPECT_THAT(table.out, HasSubstr("by source\n"));
}

TEST_F(Eval, TextSaysWhatIsWrong) {
  write_text(folder_ / "good.txt", "Good.");
  write_text(folder_ / "bad.jsonl", "{\"text\": \"good\"}\n{\"text\": 7}\n");
  write_text(folder_ / "chat.jsonl", R"({"messages": [{"role": "user", "content": "a"},)"
                                     R"( {"role": "assistant", "content": "b"}]})");
  write_text(folder_ / "empty.txt", " \n");
  write_text(folder_ / "notes.doc", "x");
  expect_refused({
      {"text", {path("none.txt")}, 3, "none.txt: there is no such file"},
      {"text", {path("bad.jsonl")}, 2, "bad.jsonl, line 2: the member 'text' is not a text"},
      {"text", {path("chat.jsonl")}, 2, "chat.jsonl: holds chats"},
      {"text", {path("empty.txt")}, 2, "empty.txt: there is no text in it"},
      {"text", {path("notes.doc")}, 2, "notes.doc"},
      {"text", {path("good.txt"), "--context", "4", "--stride", "5"}, 2, "a window of 4 tokens that moves by 5"},
  });
  const Finished without = run_hadal({"eval", "text", kCheckpoint, path("good.txt")});
  EXPECT_EQ(without.exit_code, 3);
  EXPECT_THAT(without.err, HasSubstr("has no tokenizer.json; name one with --tokenizer"));
}

TEST_F(Eval, ChoiceTakesTheLikeliest) {
  // The first answer is the likelier by the model's own figures, the second question has it in the other place.
  const auto cost = [&](const std::string& choice) { return bits("A fox" + choice, "100"); };
  const bool first = cost(" ran") < cost(" zzz");
  write_text(folder_ / "questions.jsonl",
             std::string("{\"context\": \"A fox\", \"choices\": [\" ran\", \" zzz\"], \"answer\": ") +
                 (first ? "0" : "1") +
                 "}\n\n{\"context\": \"A fox\", \"choices\": [\" zzz\", \" ran\", \" zzz\"], \"answer\": " +
                 (first ? "0" : "1") + "}\n");
  const json all = measured("choice", {path("questions.jsonl")});
  EXPECT_EQ(all["questions"], 2);
  EXPECT_EQ(all["correct"], 1);
  EXPECT_EQ(all["accuracy"], 0.5);
  EXPECT_EQ(all["correct_per_byte"], 1);  // all are of one length
  EXPECT_DOUBLE_EQ(all["chance"].get<double>(), (1.0 / 2 + 1.0 / 3) / 2);
  EXPECT_DOUBLE_EQ(all["standard_error"].get<double>(), std::sqrt(0.125));
  const json one = measured("choice", {path("questions.jsonl"), "--limit", "1"});
  EXPECT_EQ(one["questions"], 1);
  EXPECT_EQ(one["correct"], 1);
  EXPECT_THAT(eval("choice", {path("questions.jsonl")}).out, HasSubstr("2 questions: accuracy 0.5000 +- 0.3536"));
}

TEST_F(Eval, ChoiceSaysWhatIsWrong) {
  const std::string good = "{\"context\": \"A fox\", \"choices\": [\"a\", \"b\"], \"answer\": 0}\n";
  write_text(folder_ / "good.jsonl", good);
  write_text(folder_ / "bad.jsonl", good + "\n{\"context\": \"A\", \"choices\": [\"a\", \"b\"], \"answer\": 2}\n");
  write_text(folder_ / "broken.jsonl", good + "{context}\n");
  write_text(folder_ / "empty.jsonl", "\n");
  expect_refused({
      {"choice", {path("bad.jsonl")}, 2, "bad.jsonl, line 3: 'answer' is not the index of one of the 2 choices"},
      {"choice", {path("broken.jsonl")}, 4, "broken.jsonl, line 2: "},
      {"choice", {path("empty.jsonl")}, 2, "empty.jsonl: there is no question in it"},
      {"choice", {path("none.jsonl")}, 3, "none.jsonl"},
      {"choice", {path("good.jsonl"), "--context", "6"}, 2, "has 7 tokens with its answer, but the context has room"},
  });
}

TEST_F(Eval, CompareMeasuresBothOnTheSameText) {
  const std::string other = path("other");
  ASSERT_EQ(run_hadal({"init", other, "--config", kCheckpoint + "/config.json"}).exit_code, 0);
  write_text(folder_ / "plain.txt", "The fox ran home, and nobody knew why it was in such a hurry.");
  write_text(folder_ / "more.txt", "It rained.");
  const json same = measured("compare", {kCheckpoint, path("plain.txt")});
  EXPECT_EQ(same["total"]["kl_nats"], 0);
  EXPECT_EQ(same["total"]["top1_agreement"], 1);
  EXPECT_EQ(same["total"]["tokens"], 61);
  const json all = measured("compare", {other, path("plain.txt"), path("more.txt"), "--context", "32"});
  ASSERT_EQ(all["files"].size(), 2U);
  EXPECT_EQ(all["window"], 32);
  const auto kl = [&](std::size_t file) { return all["files"][file]["kl_nats"].get<double>(); };
  EXPECT_GT(kl(0), 0.01);
  EXPECT_NEAR(all["total"]["kl_nats"].get<double>(), (61 * kl(0) + 10 * kl(1)) / 71, 1e-12);
  EXPECT_LT(all["total"]["top1_agreement"], 0.9);
  EXPECT_GE(all["total"]["largest_kl_nats"], kl(0));
  const json again =
      measured("compare", {other, path("plain.txt"), path("more.txt"), "--context", "32", "--threads", "1"});
  EXPECT_EQ(again, all);
  EXPECT_THAT(eval("compare", {other, path("plain.txt")}).out, HasSubstr("same top-1"));
}

TEST_F(Eval, CompareSaysWhatIsWrong) {
  write_text(folder_ / "plain.txt", "The fox ran home.");
  const std::string small = HADAL_SOURCE_DIR "/tests/golden/tiny-base/checkpoint";  // 256 tokens instead of 384
  expect_refused({
      {"compare", {path("none"), path("plain.txt")}, 3, "none"},
      {"compare", {small, path("plain.txt")}, 2, "have different vocabularies"},
  });
}

TEST_F(Eval, RecallAsksAtEachDistance) {
  std::string words;
  for (int paragraph = 0; paragraph < 40; ++paragraph) {
    words += "Paragraph " + std::to_string(paragraph) + " of a long and rather dull report about the weather.\n\n";
  }
  write_text(folder_ / "long.txt", words);
  const std::vector<std::string> arguments = {path("long.txt"), "--distances", "20,200", "--limit", "9",
                                              "--candidates",   "4",           "--seed", "7"};
  const json all = measured("recall", arguments);
  EXPECT_EQ(all["chance"], 0.25);
  ASSERT_EQ(all["distances"].size(), 2U);
  for (const json& row : all["distances"]) {
    EXPECT_EQ(row["questions"], 9);
    const auto accuracy = row["accuracy"].get<double>();
    EXPECT_DOUBLE_EQ(accuracy, row["correct"].get<double>() / 9);
    EXPECT_DOUBLE_EQ(row["standard_error"].get<double>(), std::sqrt(accuracy * (1 - accuracy) / 9));
    int correct = 0;
    for (const auto& [kind, tally] : row["kinds"].items()) {
      EXPECT_EQ(tally["questions"], 3) << kind;
      correct += tally["correct"].get<int>();
    }
    EXPECT_EQ(row["correct"], correct);
  }
  EXPECT_EQ(all["distances"][1]["distance"], 200);
  std::vector<std::string> one_thread = arguments;
  one_thread.insert(one_thread.end(), {"--threads", "1", "--chunk", "50"});
  EXPECT_EQ(measured("recall", one_thread), all);
  EXPECT_THAT(eval("recall", arguments).out, HasSubstr("chance 0.2500\n"));
}

TEST_F(Eval, RecallSaysWhatIsWrong) {
  std::string words;
  for (int line = 0; line < 400; ++line) words += "It rained on day " + std::to_string(line) + ".\n\n";
  write_text(folder_ / "long.txt", words);
  expect_refused({
      {"recall", {path("long.txt"), "--distances", "50,4100"}, 2, "--distances: 4,100 tokens apart needs a context of"},
      {"recall", {path("long.txt"), "--distances", "50", "--context", "90"}, 2, "but the context is 90"},
      {"recall", {path("long.txt"), "--distances", "12000"}, 2, "a distance of 12,000 tokens needs a longer text"},
      {"recall", {path("long.txt"), "--candidates", "40"}, 2, "there can be 2 to 16 candidates"},
  });
}

}  // namespace
}  // namespace hadal::e2e
