#include "text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <thread>

#include "golden_text.h"
#include "random_text.h"
#include "small_tokenizer.h"
#include "testing/temp_directory.h"
#include "text/tokenizer_json.h"
#include "text/zstd_file.h"

namespace hadal::text {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using Ids = std::vector<std::int32_t>;

TEST(Tokenizer, FactsOfV4) {
  const Tokenizer& v4 = v4_tokenizer();
  EXPECT_EQ(v4.vocab_size(), 129280);
  EXPECT_EQ(v4.bos_id(), 0);
  EXPECT_EQ(v4.eos_id(), 1);
  EXPECT_EQ(v4.pad_id(), 1);
  EXPECT_FALSE(v4.add_bos());
  EXPECT_EQ(v4.added_token_id("<think>"), 128821);
  EXPECT_EQ(v4.added_token_id("｜DSML｜"), 128825);
  EXPECT_EQ(v4.added_token_id("hello"), std::nullopt);
  EXPECT_TRUE(v4.is_special(1));
  EXPECT_FALSE(v4.is_special(128821));
  EXPECT_TRUE(v4.is_added(128821));
  EXPECT_FALSE(v4.is_added(67));
  EXPECT_EQ(v4.token_bytes(69933), std::string(128, ' '));
  EXPECT_EQ(v4.token_bytes(128825), "｜DSML｜");
  EXPECT_EQ(v4.token_bytes(258), std::string("\xAD"));  // U+0143 in the file
  EXPECT_FALSE(v4.has(129280));
  EXPECT_FALSE(v4.has(-1));
  EXPECT_EQ(v4.token_bytes(129280), "");
  EXPECT_EQ(v4.decode(std::vector{129280}).error().code, ErrorCode::kInvalidArgument);
}

TEST(Tokenizer, EveryTokensTextGivesItBack) {
  int ill_formed = 0;
  for (std::int32_t id = 3; id < 128000; ++id) {
    const std::string_view bytes = v4_tokenizer().token_bytes(id);
    if (find_ill_formed(bytes)) {
      ++ill_formed;
      continue;
    }
    ASSERT_EQ(v4_tokenizer().encode(bytes).value(), Ids{id}) << testing::PrintToString(bytes);
  }
  EXPECT_EQ(ill_formed, 1342 + 128);
}

TEST(Tokenizer, TextComesBackFromItsIds) {
  for (std::uint32_t number = 0; number < 20'000; ++number) {
    Random random(3, number);
    const std::string text = random_text(random, 60);
    const auto ids = v4_tokenizer().encode(text);
    ASSERT_TRUE(ids);
    ASSERT_EQ(v4_tokenizer().decode(*ids).value(), text) << testing::PrintToString(text);
  }
}

TEST(Tokenizer, StreamsGiveTheWholeDecode) {
  for (std::uint32_t number = 0; number < 20'000; ++number) {
    Random random(4, number);
    Ids ids;
    // Half of them single bytes, so that characters are cut everywhere.
    for (std::uint32_t i = random.below(12); i > 0; --i) {
      ids.push_back(static_cast<std::int32_t>(random.below(2) == 0 ? 131 + random.below(128) : random.below(129280)));
    }
    const DecodeOptions options{.skip_special = random.below(2) == 0};
    DetokenizingStream stream(v4_tokenizer(), options);
    std::string text;
    for (const std::int32_t id : ids) {
      ASSERT_TRUE(stream.push(id, text));
      ASSERT_FALSE(find_ill_formed(text));
    }
    stream.finish(text);
    ASSERT_EQ(text, v4_tokenizer().decode(ids, options).value()) << testing::PrintToString(ids);
  }
}

TEST(Tokenizer, AStreamIsUnchangedByAnUnknownId) {
  DetokenizingStream stream(v4_tokenizer());
  std::string text;
  const Ids party = v4_tokenizer().encode("\U0001F9FF").value();
  ASSERT_GT(party.size(), 1U);
  ASSERT_TRUE(stream.push(party[0], text));
  EXPECT_EQ(stream.push(999999, text).error().code, ErrorCode::kInvalidArgument);
  for (std::size_t i = 1; i < party.size(); ++i) ASSERT_TRUE(stream.push(party[i], text));
  EXPECT_EQ(text, "\U0001F9FF");
}

// The definition of 1.3 step 4, in quadratic time.
class NaiveMerger {
 public:
  explicit NaiveMerger(const TokenizerJson& file) {
    std::map<std::string, std::int32_t> ids;
    for (const auto& [token, id] : file.vocab) ids[token] = id;
    for (std::size_t rank = 0; rank < file.merges.size(); ++rank) {
      const auto& [left, right] = file.merges[rank];
      merges_[{ids[left], ids[right]}] = {rank, ids[left + right]};
    }
    for (const auto& [token, id] : file.vocab) {
      if (const auto bytes = ByteCharacters().bytes(token); bytes && bytes->size() == 1) byte_ids_[bytes->front()] = id;
    }
  }

  Ids encode(std::string_view piece) const {
    Ids ids;
    for (const char byte : piece) ids.push_back(byte_ids_.at(byte));
    while (true) {
      std::size_t best_rank = merges_.size();
      std::size_t best = 0;
      std::int32_t result = 0;
      for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
        const auto found = merges_.find({ids[i], ids[i + 1]});
        if (found != merges_.end() && found->second.first < best_rank) {
          best_rank = found->second.first;
          best = i;
          result = found->second.second;
        }
      }
      if (best_rank == merges_.size()) return ids;
      ids[best] = result;
      ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
  }

 private:
  std::map<std::pair<std::int32_t, std::int32_t>, std::pair<std::size_t, std::int32_t>> merges_;
  std::map<char, std::int32_t> byte_ids_;
};

TEST(Tokenizer, PiecesOfAnyLengthAreMergedByRank) {
  const auto json_text = read_zstd_file(golden_text() / "tokenizer.json.zst", 64 << 20);
  const NaiveMerger naive(*read_tokenizer_json(*json_text));
  const std::vector<std::string> alphabets = {"aeinrst", "ABab", "a", "中国人的是不了在", "éàñü", "ab"};
  for (std::uint32_t number = 0; number < 400; ++number) {
    Random random(5, number);
    const std::string& alphabet = alphabets[random.below(6)];
    std::vector<std::string> characters;
    for (std::size_t at = 0; at < alphabet.size();) {
      const auto size = static_cast<std::size_t>(decode_utf8(alphabet.data() + at).size);
      characters.push_back(alphabet.substr(at, size));
      at += size;
    }
    // Lengths on both sides of every border: cached, scanned and heaped pieces.
    const std::uint32_t length =
        number % 4 == 0 ? 1 + random.below(30) : 110 + random.below(number % 4 == 1 ? 40 : 300);
    std::string piece;
    while (piece.size() < length) piece += characters[random.below(static_cast<std::uint32_t>(characters.size()))];
    const Ids expected = naive.encode(piece);
    ASSERT_EQ(v4_tokenizer().encode(piece).value(), expected) << piece;
    ASSERT_EQ(v4_tokenizer().encode(piece).value(), expected) << "the second time: " << piece;
  }
}

TEST(Tokenizer, AMillionLettersAreOnePiece) {
  const Ids ids = v4_tokenizer().encode(std::string(1'000'000, 'A')).value();
  const Ids short_ids = v4_tokenizer().encode(std::string(1'000, 'A')).value();
  ASSERT_EQ(short_ids.size(), 125U);
  EXPECT_EQ(ids, Ids(125'000, short_ids[0]));
}

TEST(AddedTokens, FirstPassWinsOverTheSecond) {
  // `<｜/table>｜` (normalized: false) overlaps `｜DSML｜` (normalized: true).
  EXPECT_EQ(v4_tokenizer().encode("<｜/table>｜DSML｜").value()[0], 129265);
  EXPECT_THAT(v4_tokenizer().encode("</think>｜DSML｜<think>").value(), ElementsAre(128822, 128825, 128821));
}

TEST(AddedTokens, TheLongestAtTheLeftmostPlaceWins) {
  json file = byte_tokenizer();
  file["added_tokens"] = {added_token(256, "<a"), added_token(257, "<ab>"), added_token(258, "b>c")};
  const auto tokenizer = Tokenizer::parse(file.dump(), "small");
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  EXPECT_THAT(tokenizer->encode("<ab>c").value(), ElementsAre(257, 'c'));
  EXPECT_THAT(tokenizer->encode("<abc").value(), ElementsAre(256, 'b', 'c'));
  EXPECT_THAT(tokenizer->encode("xb>c<").value(), ElementsAre('x', 258, '<'));
  EXPECT_THAT(tokenizer->encode("<ab>c", {.added_tokens = AddedTokens::kOff}).value(),
              ElementsAre('<', 'a', 'b', '>', 'c'));
}

TEST(AddedTokens, UntrustedRangesHoldNone) {
  const std::string text = "<think>a<think>b</think>";
  const std::vector<ByteRange> inside = {{7, 16}};
  const Ids guarded = v4_tokenizer().encode(text, {.untrusted = inside}).value();
  Ids expected = {128821};
  const Ids plain = v4_tokenizer().encode("a<think>b", {.added_tokens = AddedTokens::kOff}).value();
  expected.insert(expected.end(), plain.begin(), plain.end());
  expected.push_back(128822);
  EXPECT_EQ(guarded, expected);

  // One shared byte at either end is enough; touching and empty ranges are not.
  const Ids think = v4_tokenizer().encode("<think>", {.added_tokens = AddedTokens::kOff}).value();
  const auto with = [](ByteRange range) {
    return v4_tokenizer().encode("<think>", {.untrusted = std::span(&range, 1)}).value();
  };
  EXPECT_EQ(with({0, 1}), think);
  EXPECT_EQ(with({6, 7}), think);
  EXPECT_EQ(with({3, 3}), Ids{128821});
  EXPECT_EQ(with({0, 0}), Ids{128821});
  EXPECT_EQ(with({7, 7}), Ids{128821});
}

TEST(AddedTokens, AShorterOneBesideTheRangeIsStillFound) {
  json file = byte_tokenizer();
  file["added_tokens"] = {added_token(256, "<a"), added_token(257, "<ab>")};
  const auto tokenizer = Tokenizer::parse(file.dump(), "small");
  const std::vector<ByteRange> ranges = {{3, 4}};
  EXPECT_THAT(tokenizer->encode("<ab>", {.untrusted = ranges}).value(), ElementsAre(256, 'b', '>'));
}

TEST(AddedTokens, RangesMoveWithReplacedParts) {
  // F0 9F 8E (3 bytes -> 3), FF (1 -> 3), C3 (1 -> 3) before the untrusted token; a trusted one behind.
  const std::string text = "\xFF\xF0\x9F\x8E\xC3<think><think>";
  const std::vector<ByteRange> ranges = {{2, 12}};
  const Ids ids = v4_tokenizer().encode(text, {.untrusted = ranges, .ill_formed = IllFormedText::kReplace}).value();
  EXPECT_EQ(ids.back(), 128821);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 128821), 1);
  EXPECT_EQ(v4_tokenizer().decode(ids).value(), "\uFFFD\uFFFD\uFFFD<think><think>");
}

TEST(AddedTokens, BadRangesAreRefused) {
  const std::vector<std::vector<ByteRange>> bad = {{{-1, 2}}, {{2, 1}}, {{0, 4}}, {{1, 2}, {0, 1}}, {{0, 2}, {1, 3}}};
  for (const auto& ranges : bad) {
    const auto ids = v4_tokenizer().encode("abc", {.untrusted = ranges});
    ASSERT_FALSE(ids);
    EXPECT_EQ(ids.error().code, ErrorCode::kInvalidArgument);
  }
}

TEST(Tokenizer, IgnoreMergesTakesWholePiecesFirst) {
  json file = byte_tokenizer();
  file["model"]["vocab"]["ab"] = 256;
  file["model"]["vocab"]["bc"] = 257;
  file["model"]["vocab"]["abc"] = 258;  // no merge reaches it
  file["model"]["merges"] = {"a b", json::array({"b", "c"})};
  EXPECT_THAT(Tokenizer::parse(file.dump(), "small")->encode("abc abcbc").value(),
              ElementsAre(256, 'c', ' ', 256, 'c', 257));
  file["model"]["ignore_merges"] = true;
  EXPECT_THAT(Tokenizer::parse(file.dump(), "small")->encode("abc abcbc").value(),
              ElementsAre(258, ' ', 256, 'c', 257));
}

TEST(Tokenizer, RankIsThePlaceOfTheMergeNotTheId) {
  json file = byte_tokenizer();
  file["model"]["vocab"]["ab"] = 400;
  file["model"]["vocab"]["bc"] = 300;
  file["model"]["merges"] = {"a b", "b c"};
  const auto tokenizer = Tokenizer::parse(file.dump(), "small");
  EXPECT_THAT(tokenizer->encode("abc").value(), ElementsAre(400, 'c'));
  EXPECT_EQ(tokenizer->vocab_size(), 401);
  EXPECT_FALSE(tokenizer->has(399));
  EXPECT_FALSE(tokenizer->decode(std::vector{399}));
}

TEST(Tokenizer, OneThreadMayUseSeveralTokenizersInTurn) {
  json file = byte_tokenizer();
  const auto first = Tokenizer::parse(file.dump(), "first");
  file["model"]["vocab"]["ab"] = 256;
  file["model"]["merges"] = {"a b"};
  const auto second = Tokenizer::parse(file.dump(), "second");
  for (int turn = 0; turn < 3; ++turn) {
    EXPECT_THAT(first->encode("ab").value(), ElementsAre('a', 'b'));
    EXPECT_THAT(second->encode("ab").value(), ElementsAre(256));
  }
}

TEST(Tokenizer, ThreadsShareOne) {
  const std::string text = "The quick brown fox; 你好，世界 1234567 <think> can't";
  const Ids expected = v4_tokenizer().encode(text).value();
  std::vector<int> wrong(4);
  std::vector<std::jthread> threads;
  for (int& count : wrong) {
    threads.emplace_back([&count, &text, &expected] {
      for (int turn = 0; turn < 200; ++turn) count += v4_tokenizer().encode(text).value() == expected ? 0 : 1;
    });
  }
  threads.clear();
  EXPECT_THAT(wrong, ElementsAre(0, 0, 0, 0));
}

TEST(Tokenizer, ADirectoryGivesItsConfig) {
  const testing_support::TempDirectory folder;
  EXPECT_EQ(Tokenizer::load(folder.path()).error().code, ErrorCode::kNotFound);
  json file = byte_tokenizer();
  file["added_tokens"] = {added_token(256, "<s>"), added_token(257, "</s>")};
  testing_support::write_text(folder / "tokenizer.json", file.dump());
  EXPECT_EQ(Tokenizer::load(folder.path())->bos_id(), std::nullopt);

  const json config = {
      {"bos_token", {{"content", "<s>"}}}, {"eos_token", "</s>"},   {"pad_token", nullptr}, {"add_bos_token", true},
      {"model_max_length", 1048576},       {"tokenizer_class", "X"}};
  testing_support::write_text(folder / "tokenizer_config.json", config.dump());
  const auto tokenizer = Tokenizer::load(folder.path());
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  EXPECT_EQ(tokenizer->bos_id(), 256);
  EXPECT_EQ(tokenizer->eos_id(), 257);
  EXPECT_EQ(tokenizer->pad_id(), std::nullopt);
  EXPECT_TRUE(tokenizer->add_bos());
  EXPECT_EQ(tokenizer->model_max_length(), 1048576);

  for (const auto& [text, message] : std::vector<std::pair<std::string, std::string>>{
           {"{", "is not a JSON object"},
           {R"({"bos_token": 5})", "bos_token is neither"},
           {R"({"eos_token": "<e>"})", "the eos_token '<e>', which is no added token"},
           {R"({"add_bos_token": "yes"})", "add_bos_token is not true or false"}}) {
    testing_support::write_text(folder / "tokenizer_config.json", text);
    const auto refused = Tokenizer::load(folder.path());
    ASSERT_FALSE(refused) << text;
    EXPECT_EQ(refused.error().code, ErrorCode::kCorrupt);
    EXPECT_THAT(refused.error().message, HasSubstr(message));
  }
}

TEST(Tokenizer, DamagedArchivesAreRefused) {
  const testing_support::TempDirectory folder;
  const std::string whole = testing_support::read_text(golden_text() / "tokenizer.json.zst");
  testing_support::write_text(folder / "tokenizer.json.zst", whole);
  EXPECT_EQ(Tokenizer::load(folder.path())->vocab_size(), 129280);
  for (const std::size_t size : {std::size_t{0}, std::size_t{3}, whole.size() / 2, whole.size() - 1}) {
    testing_support::write_text(folder / "cut.zst", whole.substr(0, size));
    EXPECT_EQ(Tokenizer::load(folder / "cut.zst").error().code, ErrorCode::kCorrupt) << size;
  }
  std::string damaged = whole;
  damaged[whole.size() / 2] = static_cast<char>(damaged[whole.size() / 2] ^ 0x55);
  testing_support::write_text(folder / "damaged.zst", damaged);
  EXPECT_EQ(Tokenizer::load(folder / "damaged.zst").error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(read_zstd_file(golden_text() / "tokenizer.json.zst", 6'000'000).error().code,
            ErrorCode::kResourceExhausted);
}

}  // namespace
}  // namespace hadal::text
