// The trainer of tokenizers against its definition, and its files against V4's.
#include "text/bpe_trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "random_text.h"
#include "testing/temp_directory.h"
#include "text/byte_characters.h"
#include "text/tokenizer.h"
#include "text/tokenizer_writer.h"
#include "text/zstd_file.h"

namespace hadal::text {
namespace {

using nlohmann::json;

TrainedBpe trained(const PieceCounts& counts, BpeTrainingOptions options) {
  auto bpe = train_bpe(counts, options);
  EXPECT_TRUE(bpe);
  return *std::move(bpe);
}

// The merges as pairs of bytes.
std::vector<std::pair<std::string, std::string>> spelled(const TrainedBpe& bpe) {
  std::vector<std::pair<std::string, std::string>> merges;
  for (const auto& [left, right] : bpe.merges) {
    merges.emplace_back(bpe.symbols[static_cast<std::size_t>(left)], bpe.symbols[static_cast<std::size_t>(right)]);
  }
  return merges;
}

// The definition, with every count made anew for each merge.
std::vector<std::pair<std::string, std::string>> by_definition(
    const std::vector<std::pair<std::string, std::int64_t>>& words, const BpeTrainingOptions& options) {
  std::vector<std::vector<std::string>> split;
  for (const auto& [word, count] : words) {
    split.emplace_back();
    for (const char byte : word) split.back().emplace_back(1, byte);
  }
  std::vector<std::string> made;
  std::vector<std::pair<std::string, std::string>> merges;
  while (static_cast<std::int64_t>(merges.size()) < options.merges) {
    std::map<std::pair<std::string, std::string>, std::int64_t> pairs;
    for (std::size_t word = 0; word < words.size(); ++word) {
      for (std::size_t i = 0; i + 1 < split[word].size(); ++i) {
        pairs[{split[word][i], split[word][i + 1]}] += words[word].second;
      }
    }
    const std::pair<const std::pair<std::string, std::string>, std::int64_t>* best = nullptr;
    const auto better = [](const auto& a, const auto& b) {
      if (a.second != b.second) return a.second > b.second;
      const std::string bytes_a = a.first.first + a.first.second;
      const std::string bytes_b = b.first.first + b.first.second;
      if (bytes_a != bytes_b) return bytes_a < bytes_b;
      return a.first.first.size() < b.first.first.size();
    };
    for (const auto& pair : pairs) {
      const std::string bytes = pair.first.first + pair.first.second;
      if (pair.second < options.min_count || bytes.size() > options.max_token_bytes) continue;
      if (std::find(made.begin(), made.end(), bytes) != made.end()) continue;
      if (best == nullptr || better(pair, *best)) best = &pair;
    }
    if (best == nullptr) break;
    const auto [left, right] = best->first;
    for (auto& word : split) {
      std::vector<std::string> merged;
      for (std::size_t i = 0; i < word.size(); ++i) {
        const bool here = word[i] == left && i + 1 < word.size() && word[i + 1] == right;
        merged.push_back(here ? left + right : word[i]);
        if (here) ++i;
      }
      word = std::move(merged);
    }
    made.push_back(left + right);
    merges.emplace_back(left, right);
  }
  return merges;
}

TEST(BpeTrainer, MergesTheMostFrequentPairFirst) {
  PieceCounts counts;
  counts.add("aab aab aab xy xy");  // pieces "aab", " aab" twice, " xy" twice
  EXPECT_EQ(counts.pieces(), 5);
  EXPECT_EQ(counts.distinct(), 3);
  const TrainedBpe bpe = trained(counts, {.merges = 4});
  // aa and ab have 3 each: "aa" is smaller. Then "aab" has 3; " aab", " x", "xy" have 2: the blank is smallest.
  const std::vector<std::pair<std::string, std::string>> expected = {{"a", "a"}, {"aa", "b"}, {" ", "aab"}, {" ", "x"}};
  EXPECT_EQ(spelled(bpe), expected);
  EXPECT_EQ(bpe.symbols.size(), 260U);
  EXPECT_EQ(bpe.symbols[0], "!") << "the bytes stand in the order of their characters";
  EXPECT_EQ(bpe.symbols[256], "aa");
}

TEST(BpeTrainer, AgreesWithTheDefinitionOnRandomTexts) {
  for (std::uint32_t number = 0; number < 40; ++number) {
    Random random(7, number);
    PieceCounts counts;
    std::map<std::string, std::int64_t> words;
    // Words over few letters: ties, runs and overlapping pairs are frequent.
    for (int word = 0; word < 60; ++word) {
      std::string letters;
      const std::uint32_t length = 1 + random.below(9);
      for (std::uint32_t i = 0; i < length; ++i)
        letters += static_cast<char>('a' + random.below(number % 2 == 0 ? 2 : 4));
      const std::int64_t count = 1 + random.below(4);
      counts.add(letters, count);
      words[letters] += count;
    }
    BpeTrainingOptions options{.merges = 80};
    if (number % 3 == 0) options.max_token_bytes = 3;
    if (number % 5 == 0) options.min_count = 6;
    const std::vector<std::pair<std::string, std::int64_t>> list(words.begin(), words.end());
    const auto merges = spelled(trained(counts, options));
    ASSERT_EQ(merges, by_definition(list, options)) << "case " << number;
    std::vector<std::string> results;
    for (const auto& [left, right] : merges) results.push_back(left + right);
    std::sort(results.begin(), results.end());
    EXPECT_EQ(std::adjacent_find(results.begin(), results.end()), results.end());
  }
}

TEST(BpeTrainer, StopsWhenToldTo) {
  PieceCounts counts;
  counts.add("ab ab ab");
  BpeTrainingOptions options{.merges = 4, .progress = [](std::int64_t, std::int64_t) { return false; }};
  const auto bpe = train_bpe(counts, options);
  ASSERT_FALSE(bpe);
  EXPECT_EQ(bpe.error().code, ErrorCode::kCancelled);
}

class WrittenTokenizer : public testing::Test {
 protected:
  static std::string corpus() {
    std::string text;
    for (int i = 0; i < 400; ++i) {
      text += "The quick brown fox and the 3 lazy dogs, number " + std::to_string(i * 37 % 101) + ", don't sleep.\n";
      text += "Änderungen übrigens: «größer» — 中文 ok.\n\n";
    }
    return text;
  }
  void SetUp() override {
    counts_.add(corpus());
    bpe_ = trained(counts_, {.merges = *merges_for(512)});
    ASSERT_TRUE(write_tokenizer(folder_.path(), bpe_));
    auto loaded = Tokenizer::load(folder_.path());
    ASSERT_TRUE(loaded) << loaded.error().message;
    tokenizer_.emplace(*std::move(loaded));
  }
  testing_support::TempDirectory folder_;
  PieceCounts counts_;
  TrainedBpe bpe_;
  std::optional<Tokenizer> tokenizer_;
};

TEST_F(WrittenTokenizer, HasV4sLayout) {
  EXPECT_EQ(tokenizer_->vocab_size(), 512);
  EXPECT_EQ(tokenizer_->bos_id(), 0);
  EXPECT_EQ(tokenizer_->eos_id(), 1);
  EXPECT_EQ(tokenizer_->pad_id(), 2);
  EXPECT_FALSE(tokenizer_->add_bos());
  EXPECT_EQ(tokenizer_->token_bytes(3), "!");
  EXPECT_EQ(tokenizer_->token_bytes(259), bpe_.symbols[256]);
  const auto after = static_cast<std::int32_t>(3 + bpe_.symbols.size());
  EXPECT_EQ(tokenizer_->added_token_id("<｜User｜>"), after);
  for (const char* marker :
       {"<｜User｜>", "<｜Assistant｜>", "<think>", "</think>", "｜DSML｜", "<｜latest_reminder｜>", "<｜action｜>",
        "<｜query｜>", "<｜authority｜>", "<｜domain｜>", "<｜title｜>", "<｜read_url｜>", "<｜extracted_url｜>"}) {
    const auto id = tokenizer_->added_token_id(marker);
    ASSERT_TRUE(id) << marker;
    EXPECT_FALSE(tokenizer_->is_special(*id)) << marker;
    EXPECT_EQ(*tokenizer_->encode(marker), std::vector<std::int32_t>{*id});
  }
  for (std::int32_t id = 512 - kReservedTokens; id < 512; ++id) EXPECT_TRUE(tokenizer_->is_special(id)) << id;
  EXPECT_TRUE(tokenizer_->added_token_id("<｜place▁holder▁no▁15｜>"));
}

// A reader of the library that the format comes from numbers added tokens that are not in the model's vocabulary by
// counting on from its end, and refuses members it does not know: the file must have V4's members, in V4's form.
TEST_F(WrittenTokenizer, HasTheMembersOfTheOfficialFile) {
  const json ours = json::parse(testing_support::read_text(folder_ / "tokenizer.json"));
  const auto official_text = read_zstd_file(testing_support::golden("text/tokenizer.json.zst"), 64 << 20);
  ASSERT_TRUE(official_text);
  const json official = json::parse(*official_text);
  const auto keys = [](const json& object) {
    std::vector<std::string> names;
    for (const auto& [key, value] : object.items()) names.push_back(key + ":" + value.type_name());
    return names;
  };
  EXPECT_EQ(keys(ours), keys(official));
  EXPECT_EQ(ours["pre_tokenizer"]["pretokenizers"].size(), official["pre_tokenizer"]["pretokenizers"].size());
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(ours["pre_tokenizer"]["pretokenizers"][i], official["pre_tokenizer"]["pretokenizers"][i]);
  }
  EXPECT_EQ(ours["decoder"], official["decoder"]);
  EXPECT_EQ(ours["normalizer"], official["normalizer"]);
  EXPECT_EQ(keys(ours["added_tokens"][0]), keys(official["added_tokens"][0]));
  EXPECT_EQ(ours["model"]["merges"][0].type(), official["model"]["merges"][0].type());
  for (const auto& [key, value] : official["model"].items()) {
    if (key != "vocab" && key != "merges") {
      EXPECT_EQ(ours["model"][key], value) << key;
    }
  }

  const auto& vocab = ours["model"]["vocab"];
  auto next = static_cast<std::int64_t>(vocab.size());
  for (const json& token : ours["added_tokens"]) {
    const auto known = vocab.find(token["content"].get<std::string>());
    EXPECT_EQ(token["id"], known != vocab.end() ? known->get<std::int64_t>() : next++) << token["content"];
  }
}

TEST_F(WrittenTokenizer, EveryTextComesBack) {
  const std::string whole = corpus();
  const auto ids = tokenizer_->encode(whole);
  ASSERT_TRUE(ids);
  EXPECT_LT(ids->size() * 2, whole.size());
  EXPECT_EQ(*tokenizer_->decode(*ids), whole);
  for (std::uint32_t number = 0; number < 300; ++number) {
    Random random(11, number);
    const std::string text = random_text(random, 200);
    const auto encoded = tokenizer_->encode(text, {.added_tokens = AddedTokens::kOff});
    ASSERT_TRUE(encoded);
    EXPECT_EQ(*tokenizer_->decode(*encoded), text);
  }
}

TEST_F(WrittenTokenizer, EveryMergedTokenIsItsOwnEncoding) {
  int checked = 0;
  for (std::size_t symbol = 256; symbol < bpe_.symbols.size(); ++symbol) {
    const std::string& bytes = bpe_.symbols[symbol];
    if (find_ill_formed(bytes)) continue;
    EXPECT_EQ(*tokenizer_->encode(bytes), std::vector<std::int32_t>{static_cast<std::int32_t>(3 + symbol)}) << bytes;
    ++checked;
  }
  EXPECT_GT(checked, 100);
}

TEST_F(WrittenTokenizer, IsTheSameWhenTrainedAgainInAnotherOrder) {
  PieceCounts again;
  const std::string text = corpus();
  // Whole lines, the last first.
  std::vector<std::string_view> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find("\n\n", begin) + 2;
    lines.push_back(std::string_view(text).substr(begin, end - begin));
    begin = end;
  }
  for (auto line = lines.rbegin(); line != lines.rend(); ++line) again.add(*line);
  EXPECT_EQ(tokenizer_json(trained(again, {.merges = *merges_for(512)})), tokenizer_json(bpe_));
}

TEST(TokenizerWriter, FillsUpToTheNextStepWhenTheTextsGiveFewMerges) {
  PieceCounts counts;
  counts.add("ab ab ab");
  const auto tokenizer = Tokenizer::parse(tokenizer_json(trained(counts, {.merges = *merges_for(6144)})), "small");
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  EXPECT_EQ(tokenizer->vocab_size(), 384);
  EXPECT_TRUE(tokenizer->has(383));
  EXPECT_EQ(*tokenizer->encode(" ab"), std::vector<std::int32_t>{3 + 257});
}

TEST(TokenizerWriter, RefusesSizesThatAreNotPossible) {
  EXPECT_EQ(*merges_for(6144), 6144 - 288);
  EXPECT_EQ(*merges_for(6100), 6144 - 288) << "rounded up";
  EXPECT_EQ(*merges_for(288), 384 - 288);
  EXPECT_EQ(merges_for(287).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(merges_for(0).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(merges_for((std::int64_t{1} << 24) + 1).error().code, ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace hadal::text
