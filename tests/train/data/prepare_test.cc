// From files of texts and chats to prepared sets: what is taken, what is dropped, and what failure leaves behind.
#include "train/data/prepare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "testing/temp_directory.h"
#include "text/tokenizer.h"

namespace hadal::train {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing_support::read_text;
using testing_support::TempDirectory;
using testing_support::write_text;

class Prepare : public testing::Test {
 protected:
  void write(const std::string& name, std::string_view text) {
    std::filesystem::create_directories((folder_ / "in" / name).parent_path());
    write_text(folder_ / "in" / name, text);
  }
  PrepareOptions options() const {
    PrepareOptions options;
    options.inputs = {folder_ / "in"};
    options.out = folder_ / "out";
    options.train_vocab = 384;
    options.valid_share = 0;
    return options;
  }
  PrepareReport prepared(const PrepareOptions& options) {
    auto report = prepare_data(options);
    EXPECT_TRUE(report) << report.error().message;
    EXPECT_FALSE(std::filesystem::exists(options.out.string() + ".partial"));
    return report ? *std::move(report) : PrepareReport{};
  }
  // Texts of a prepared set, without bos and eos.
  std::vector<std::string> texts(const std::string& set_name) {
    const auto tokenizer = text::Tokenizer::load(folder_ / "out");
    const auto set = TokenSet::open(folder_ / "out" / set_name);
    EXPECT_TRUE(tokenizer && set) << set_name;
    std::vector<std::string> all;
    for (std::int64_t document = 0; set && document < set->documents(); ++document) {
      std::vector<std::int32_t> tokens(static_cast<std::size_t>(set->length(document)));
      EXPECT_TRUE(set->read(document, 0, tokens));
      EXPECT_EQ(tokens.front(), 0);
      EXPECT_EQ(tokens.back(), 1);
      all.push_back(*tokenizer->decode(std::span(tokens).subspan(1, tokens.size() - 2)));
    }
    return all;
  }
  void expect_refused(const PrepareOptions& options, ErrorCode code, const std::string& words) {
    const auto report = prepare_data(options);
    ASSERT_FALSE(report) << "accepted, instead of: " << words;
    EXPECT_EQ(report.error().code, code) << report.error().message;
    EXPECT_THAT(report.error().message, HasSubstr(words));
    EXPECT_FALSE(std::filesystem::exists(options.out.string() + ".partial"));
    EXPECT_FALSE(std::filesystem::exists(options.out / "prepared.json"));
  }
  TempDirectory folder_;
};

TEST_F(Prepare, TakesAFolderOfTextFiles) {
  write("b.txt", "\xEF\xBB\xBFThe second text.\n");
  write("a.txt", "The first text, with <think> and <｜User｜> in it.\n");
  write("deeper/c.md", "# The third\n");
  write("notes.pdf", "no text");
  const PrepareReport report = prepared(options());
  EXPECT_THAT(texts("train/in"), ElementsAre("The first text, with <think> and <｜User｜> in it.\n",
                                             "The second text.\n", "# The third\n"));
  EXPECT_EQ(report.skipped_files, 1);
  EXPECT_EQ(report.vocab_size, 384);
  ASSERT_EQ(report.sets.size(), 1U);
  const SourceTotals totals = report.sets[0].meta.totals();
  EXPECT_EQ(totals.documents, 3);
  EXPECT_EQ(totals.bytes, 53 + 17 + 12);
  EXPECT_EQ(read_text(folder_ / "out/prepared.json"), to_json(report) + "\n");
}

TEST_F(Prepare, DropsAndCountsWhatIsNoDocument) {
  write("some.jsonl",
        "{\"text\": \"one\", \"source\": \"x\"}\n"
        "{\"text\": \" \\n\"}\n"
        "\n"
        "{\"text\": \"one\", \"source\": \"y\"}\n"
        "{\"text\": \"bad \xC3\x28\"}\n"
        "{\"text\": \"half \\ud800\"}\n"
        "{\"text\": \"two\", \"other\": [1, {\"a\": null}]}\n");
  const PrepareReport report = prepared(options());
  EXPECT_THAT(texts("train/some"), ElementsAre("one", "two"));
  const ReadCounts& counts = report.groups.at("some");
  EXPECT_EQ(counts.records, 6);
  EXPECT_EQ(counts.dropped.empty, 1);
  EXPECT_EQ(counts.dropped.duplicate, 1);
  EXPECT_EQ(counts.dropped.ill_formed, 2);
  ASSERT_EQ(report.sets[0].meta.sources.size(), 2U);
  EXPECT_EQ(report.sets[0].meta.sources[0].name, "x");
  EXPECT_EQ(report.sets[0].meta.sources[1].name, "some");
}

TEST_F(Prepare, KeepsSplitsAndPrefersTestToTrainForDuplicates) {
  write("train/tales.jsonl", "{\"text\": \"shared\"}\n{\"text\": \"a train tale\"}\n");
  write("test/tales.jsonl", "{\"text\": \"shared\"}\n");
  write("valid/tales.jsonl", "{\"text\": \"a valid tale\"}\n");
  write("chat/train.jsonl",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"assistant\", \"content\": "
        "\"Hello\"}]}\n");
  prepared(options());
  EXPECT_THAT(texts("train/tales"), ElementsAre("a train tale"));
  EXPECT_THAT(texts("test/tales"), ElementsAre("shared"));
  EXPECT_THAT(texts("valid/tales"), ElementsAre("a valid tale"));
  EXPECT_TRUE(std::filesystem::exists(folder_ / "out/train/in/mask-0000.bin"));
}

TEST_F(Prepare, JoinsTheRecordsOfABook) {
  write("books.jsonl", R"({"text": "A1", "book": "a", "chapter": 1})"
                       "\n"
                       R"({"text": "A1 more", "book": "a", "chapter": 1})"
                       "\n"
                       R"({"text": "A2", "book": "a", "chapter": 2})"
                       "\n"
                       R"({"text": "A4", "book": "a", "chapter": 4})"
                       "\n"
                       R"({"text": "B4", "book": "b", "chapter": 4})"
                       "\n"
                       R"({"text": "no book"})"
                       "\n"
                       R"({"text": "none again"})"
                       "\n");
  PrepareOptions joined = options();
  joined.reading.join_books = true;
  const PrepareReport report = prepared(joined);
  EXPECT_THAT(texts("train/books"), ElementsAre("A1\n\nA1 more\n\nA2", "A4", "B4", "no book", "none again"));
  EXPECT_EQ(report.groups.at("books").joined, 2);
}

TEST_F(Prepare, CutsTextFilesAtASeparator) {
  write("many.txt", "one<|end|>two<|end|><|end|>three");
  PrepareOptions cut = options();
  cut.reading.separator = "<|end|>";
  const PrepareReport report = prepared(cut);
  EXPECT_THAT(texts("train/in"), ElementsAre("one", "two", "three"));
  EXPECT_EQ(report.groups.at("in").dropped.empty, 1);
}

TEST_F(Prepare, MarksTheAnswersOfChats) {
  write(
      "chat.jsonl",
      R"({"messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi </think> there"},)"
      R"( {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Bye"}, {"role": "assistant", "content": "See you."},)"
      R"( {"role": "user", "content": "left out"}]})"
      "\n"
      R"({"messages": [{"role": "user", "content": "no answer"}]})"
      "\n");
  const PrepareReport report = prepared(options());
  EXPECT_EQ(report.groups.at("chat").dropped.empty, 1);
  const auto tokenizer = text::Tokenizer::load(folder_ / "out");
  const auto set = TokenSet::open(folder_ / "out/train/chat");
  ASSERT_TRUE(set);
  ASSERT_EQ(set->documents(), 1);
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(set->length(0)));
  std::vector<std::uint8_t> mask(tokens.size());
  ASSERT_TRUE(set->read(0, 0, tokens));
  set->read_mask(0, 0, mask);
  EXPECT_EQ(
      *tokenizer->decode(tokens),
      "<｜begin▁of▁sentence｜>Be short.<｜User｜>Hi </think> there<｜Assistant｜></think>Hello.<｜end▁of▁sentence｜>"
      "<｜User｜>Bye<｜Assistant｜></think>See you.<｜end▁of▁sentence｜>");
  // The marker that the user typed is no token.
  EXPECT_EQ(std::count(tokens.begin(), tokens.end(), *tokenizer->added_token_id("</think>")), 2);
  std::vector<std::int32_t> learned;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (mask[i] == 1) learned.push_back(tokens[i]);
  }
  EXPECT_EQ(*tokenizer->decode(learned), "Hello.<｜end▁of▁sentence｜>See you.<｜end▁of▁sentence｜>");
  EXPECT_EQ(set->meta().totals().loss_tokens, static_cast<std::int64_t>(learned.size()));
}

TEST_F(Prepare, SplitsWhatHasNoSplit) {
  std::string lines;
  for (int i = 0; i < 400; ++i) lines += "{\"text\": \"document number " + std::to_string(i) + "\"}\n";
  write("short.jsonl", lines);
  std::string book;
  for (int i = 0; i < 5000; ++i) book += "Line " + std::to_string(i) + " of a long book.\n";
  write("long.txt", book);
  PrepareOptions split = options();
  split.valid_share = 0.05;
  split.test_share = 0.1;
  const PrepareReport report = prepared(split);
  std::map<std::string, std::int64_t> documents;
  for (const PreparedSet& set : report.sets) documents[set.folder] = set.meta.totals().documents;
  EXPECT_EQ(documents["train/short"] + documents["valid/short"] + documents["test/short"], 400);
  EXPECT_NEAR(static_cast<double>(documents["valid/short"]), 20, 5 * 4.4);
  EXPECT_NEAR(static_cast<double>(documents["test/short"]), 40, 5 * 6);
  // The book's last lines: all of it is somewhere, cut at line ends.
  EXPECT_EQ(texts("train/in")[0] + texts("valid/in")[0] + texts("test/in")[0], book);
  EXPECT_TRUE(texts("train/in")[0].ends_with(".\n"));
  EXPECT_NEAR(static_cast<double>(texts("test/in")[0].size()), 0.1 * static_cast<double>(book.size()), 40);
}

TEST_F(Prepare, IsTheSameTwice) {
  std::string lines;
  for (int i = 0; i < 200; ++i) lines += "{\"text\": \"some words and the number " + std::to_string(i * i) + "\"}\n";
  write("some.jsonl", lines);
  PrepareOptions first = options();
  first.valid_share = 0.1;
  PrepareOptions second = first;
  second.out = folder_ / "again";
  EXPECT_EQ(to_json(prepared(first)), to_json(prepared(second)));
  for (const char* file : {"tokenizer.json", "train/some/tokens-0000.bin", "valid/some/documents-0000.idx"}) {
    EXPECT_EQ(read_text(folder_ / "out" / file), read_text(folder_ / "again" / file)) << file;
  }
}

TEST_F(Prepare, TakesATokenizerAndReadsWhatItHasWritten) {
  write("some.txt", "words and words\n");
  prepared(options());
  PrepareOptions again = options();
  again.tokenizer = folder_ / "out";
  again.out = folder_ / "again";
  const PrepareReport report = prepared(again);
  EXPECT_FALSE(report.trained_tokenizer);
  EXPECT_EQ(read_text(folder_ / "again/tokenizer.json"), read_text(folder_ / "out/tokenizer.json"));
  EXPECT_EQ(read_text(folder_ / "again/train/in/tokens-0000.bin"), read_text(folder_ / "out/train/in/tokens-0000.bin"));
}

TEST_F(Prepare, RefusesWithASentence) {
  write("some.jsonl", "{\"text\": \"one\"}\n{\"text\": 2}\n");
  expect_refused(options(), ErrorCode::kInvalidArgument, "some.jsonl, line 2: the member 'text' is not a text");
  write("some.jsonl", "{\"text\": \"one\"}\n{\"text\": \"cut");
  expect_refused(options(), ErrorCode::kCorrupt, "some.jsonl, line 2: ");
  write("some.jsonl", "{\"words\": \"one\"}\n");
  expect_refused(options(), ErrorCode::kInvalidArgument, "needs either a member 'text' or a member 'messages'");
  write("some.jsonl", "{\"text\": \"one\"}\n{\"messages\": [{\"role\": \"assistant\", \"content\": \"x\"}]}\n");
  expect_refused(options(), ErrorCode::kInvalidArgument, "put them into two files");
  write("some.jsonl", "{\"text\": \"\"}\n");
  expect_refused(options(), ErrorCode::kInvalidArgument, "no document is left");

  write("some.jsonl", "{\"text\": \"one\"}\n");
  PrepareOptions wrong = options();
  wrong.inputs = {folder_ / "none"};
  expect_refused(wrong, ErrorCode::kNotFound, "there is no such file or folder");
  std::filesystem::create_directories(folder_ / "empty");
  wrong.inputs = {folder_ / "empty"};
  expect_refused(wrong, ErrorCode::kNotFound, "holds no *.txt");
  wrong = options();
  wrong.weights["other"] = 2;
  expect_refused(wrong, ErrorCode::kInvalidArgument, "there is no group 'other'");
  wrong = options();
  wrong.train_vocab = 100;
  expect_refused(wrong, ErrorCode::kInvalidArgument, "a vocabulary of 100 entries is not possible");
  wrong = options();
  wrong.valid_share = 1;
  expect_refused(wrong, ErrorCode::kInvalidArgument, "sum below 1");
  std::filesystem::create_directories(folder_ / "taken");
  write_text(folder_ / "taken/mine.txt", "precious");
  wrong = options();
  wrong.out = folder_ / "taken";
  expect_refused(wrong, ErrorCode::kInvalidArgument, "exists already");
  EXPECT_EQ(read_text(folder_ / "taken/mine.txt"), "precious");
}

TEST_F(Prepare, LeavesNothingWhenInterrupted) {
  std::string lines;
  for (int i = 0; i < 50; ++i) lines += "{\"text\": \"document " + std::to_string(i) + "\"}\n";
  write("some.jsonl", lines);
  // At every call: while reading, training and writing.
  for (int at = 0;; ++at) {
    PrepareOptions interrupted = options();
    interrupted.progress = [calls = 0, at](std::string_view, std::int64_t, std::int64_t) mutable {
      return calls++ != at;
    };
    const auto report = prepare_data(interrupted);
    if (report) {
      EXPECT_GT(at, 100);
      break;
    }
    ASSERT_EQ(report.error().code, ErrorCode::kCancelled) << report.error().message;
    ASSERT_FALSE(std::filesystem::exists(folder_ / "out"));
    ASSERT_FALSE(std::filesystem::exists(folder_ / "out.partial"));
  }
}

TEST_F(Prepare, RemovesWhatAKilledRunHasLeftAndNothingElse) {
  write("some.txt", "words\n");
  std::filesystem::create_directories(folder_ / "out.partial/train");
  write_text(folder_ / "out.partial/UNFINISHED", "");
  prepared(options());
  std::filesystem::remove_all(folder_ / "out");
  std::filesystem::create_directories(folder_ / "out.partial");
  write_text(folder_ / "out.partial/mine.txt", "precious");
  const auto report = prepare_data(options());
  ASSERT_FALSE(report);
  EXPECT_THAT(report.error().message, HasSubstr("is in the way"));
  EXPECT_EQ(read_text(folder_ / "out.partial/mine.txt"), "precious");
}

}  // namespace
}  // namespace hadal::train
