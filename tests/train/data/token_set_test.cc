// Prepared sets: what is written comes back, and no damage leads outside of the files.
#include "train/data/token_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "prepared.h"
#include "testing/temp_directory.h"

namespace hadal::train {
namespace {

using testing::HasSubstr;
using testing_support::read_text;
using testing_support::TempDirectory;
using testing_support::write_text;

std::vector<std::int32_t> all_of(const TokenSet& set, std::int64_t document) {
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(set.length(document)));
  EXPECT_TRUE(set.read(document, 0, tokens));
  return tokens;
}

TEST(TokenSet, GivesBackDocumentsOverSeveralShards) {
  for (const std::int64_t vocab_size : {std::int64_t{512}, std::int64_t{65536}, std::int64_t{65537}}) {
    TempDirectory folder;
    auto writer = TokenSetWriter::create(folder / "set", small_meta(false, vocab_size), 25);
    ASSERT_TRUE(writer);
    std::vector<TokenDocument> documents;
    for (std::int64_t i = 0; i < 12; ++i) {
      documents.push_back(numbered_document(i, 2 + i * 3));
      documents.back().tokens[1] = static_cast<std::int32_t>(vocab_size - 1);
      ASSERT_TRUE(writer->add(documents.back(), i % 3 == 0 ? "first" : "second"));
    }
    ASSERT_TRUE(writer->finish());

    const auto set = TokenSet::open(folder / "set");
    ASSERT_TRUE(set) << set.error().message;
    ASSERT_EQ(set->documents(), 12);
    EXPECT_GT(set->meta().shards.size(), 3U);
    std::int64_t tokens = 0;
    for (std::int64_t i = 0; i < 12; ++i) {
      EXPECT_EQ(all_of(*set, i), documents[static_cast<std::size_t>(i)].tokens);
      EXPECT_EQ(set->meta().sources[static_cast<std::size_t>(set->source(i))].name, i % 3 == 0 ? "first" : "second");
      tokens += set->length(i);
    }
    EXPECT_EQ(set->tokens(), tokens);
    EXPECT_EQ(set->meta().totals().tokens, tokens);
    EXPECT_EQ(set->meta().totals().loss_tokens, tokens - 12);
    EXPECT_EQ(set->meta().sources[0].documents, 4);
    std::vector<std::int32_t> some(3);
    ASSERT_TRUE(set->read(11, 5, some));
    EXPECT_EQ(some, std::vector<std::int32_t>(documents[11].tokens.begin() + 5, documents[11].tokens.begin() + 8));
  }
}

TEST(TokenSet, GivesBackMasksWhoseBitsCrossBytes) {
  TempDirectory folder;
  std::vector<TokenDocument> documents;
  for (std::int64_t i = 0; i < 9; ++i) {
    documents.push_back(numbered_document(i, 3 + i));
    for (std::int64_t t = 0; t < 3 + i; ++t)
      documents.back().mask.push_back(static_cast<std::uint8_t>((t * t + i) % 3 == 0));
  }
  write_set(folder / "set", documents, true, 20);
  const auto set = TokenSet::open(folder / "set");
  ASSERT_TRUE(set) << set.error().message;
  for (std::int64_t i = 0; i < 9; ++i) {
    std::vector<std::uint8_t> mask(static_cast<std::size_t>(set->length(i)));
    set->read_mask(i, 0, mask);
    EXPECT_EQ(mask, documents[static_cast<std::size_t>(i)].mask) << i;
    std::vector<std::uint8_t> rest(mask.size() - 2);
    set->read_mask(i, 2, rest);
    EXPECT_EQ(rest, std::vector<std::uint8_t>(mask.begin() + 2, mask.end()));
  }
}

class DamagedSet : public testing::Test {
 protected:
  void SetUp() override { write_texts(folder_ / "set", {5, 9, 4}); }
  void expect_refused(ErrorCode code, const std::string& words) {
    const auto set = TokenSet::open(folder_ / "set");
    ASSERT_FALSE(set);
    EXPECT_EQ(set.error().code, code) << set.error().message;
    EXPECT_THAT(set.error().message, HasSubstr(words));
  }
  void change_meta(const std::string& from, const std::string& to) {
    std::string meta = read_text(folder_ / "set/meta.json");
    const std::size_t at = meta.find(from);
    ASSERT_NE(at, std::string::npos);
    write_text(folder_ / "set/meta.json", meta.replace(at, from.size(), to));
  }
  TempDirectory folder_;
};

TEST_F(DamagedSet, WithoutMetaIsNoSet) {
  std::filesystem::remove(folder_ / "set/meta.json");
  expect_refused(ErrorCode::kNotFound, "is not a prepared set");
}

TEST_F(DamagedSet, OfAnotherVersionIsRefused) {
  change_meta("\"version\": 1", "\"version\": 2");
  expect_refused(ErrorCode::kUnsupported, "version 2");
}

TEST_F(DamagedSet, WithNumbersThatAreNoneIsRefused) {
  change_meta("\"tokens\": 18", "\"tokens\": -18");
  expect_refused(ErrorCode::kCorrupt, "'tokens' is not a whole number");
}

TEST_F(DamagedSet, CutShortIsRefused) {
  const std::string tokens = read_text(folder_ / "set/tokens-0000.bin");
  write_text(folder_ / "set/tokens-0000.bin", std::string_view(tokens).substr(1));
  expect_refused(ErrorCode::kCorrupt, "has 35 bytes, meta.json says 36");
}

// Every byte of the index in turn: start, length and source may say anything.
TEST_F(DamagedSet, IndexNeverLeadsOutside) {
  const std::string index = read_text(folder_ / "set/documents-0000.idx");
  ASSERT_EQ(index.size(), 48U);
  int refused = 0;
  for (std::size_t at = 0; at < index.size(); ++at) {
    for (const char value : {'\0', '\1', '\x7F', '\xFF'}) {
      std::string damaged = index;
      damaged[at] = value;
      write_text(folder_ / "set/documents-0000.idx", damaged);
      const auto set = TokenSet::open(folder_ / "set");
      if (!set) {
        EXPECT_EQ(set.error().code, ErrorCode::kCorrupt);
        ++refused;
        continue;
      }
      for (std::int64_t document = 0; document < set->documents(); ++document) {
        EXPECT_LE(static_cast<std::int64_t>(all_of(*set, document).size()), 18);
      }
    }
  }
  EXPECT_GT(refused, 60);
}

TEST_F(DamagedSet, WithATokenBeyondTheVocabularyFailsWhereItIsRead) {
  std::string tokens = read_text(folder_ / "set/tokens-0000.bin");
  tokens[2 * 7 + 1] = '\x02';  // 512 and more: the second document's third token
  write_text(folder_ / "set/tokens-0000.bin", tokens);
  const auto set = TokenSet::open(folder_ / "set");
  ASSERT_TRUE(set);
  std::vector<std::int32_t> out(5);
  EXPECT_TRUE(set->read(0, 0, out));
  const Status read = set->read(1, 0, out);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, ErrorCode::kCorrupt);
  EXPECT_THAT(read.error().message, HasSubstr("document 1 holds the token"));
}

}  // namespace
}  // namespace hadal::train
