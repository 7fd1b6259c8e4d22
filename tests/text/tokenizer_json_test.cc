// What a tokenizer.json may not be: each refusal with its class and the field it names.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "small_tokenizer.h"
#include "text/tokenizer.h"

namespace hadal::text {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

constexpr ErrorCode kCorrupt = ErrorCode::kCorrupt;
constexpr ErrorCode kUnsupported = ErrorCode::kUnsupported;

void expect_refused(const std::string& text, ErrorCode code, const std::string& message) {
  const auto tokenizer = Tokenizer::parse(text, "some.json");
  ASSERT_FALSE(tokenizer) << "accepted, instead of: " << message;
  EXPECT_EQ(tokenizer.error().code, code) << tokenizer.error().message;
  EXPECT_THAT(tokenizer.error().message, AllOf(StartsWith("some.json: "), HasSubstr(message)));
}

TEST(TokenizerJson, TheSmallOneIsAccepted) {
  const auto tokenizer = Tokenizer::parse(byte_tokenizer().dump(), "some.json");
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  EXPECT_EQ(tokenizer->vocab_size(), 256);
  EXPECT_EQ(tokenizer->encode("aé").value(), (std::vector<std::int32_t>{0x61, 0xC3, 0xA9}));
}

struct Refusal {
  std::string place;  // JSON pointer
  json value;
  ErrorCode code;
  std::string message;
};

class RefusedField : public testing::TestWithParam<Refusal> {};

TEST_P(RefusedField, IsNamed) {
  json file = byte_tokenizer();
  file[json::json_pointer(GetParam().place)] = GetParam().value;
  expect_refused(file.dump(), GetParam().code, GetParam().message);
}

const std::string kSplit = "/pre_tokenizer/pretokenizers/0";
const std::string kByteLevel = "/pre_tokenizer/pretokenizers/1";

INSTANTIATE_TEST_SUITE_P(
    All, RefusedField,
    testing::Values(
        Refusal{"/version", "2.0", kUnsupported, "version is '2.0'"},
        Refusal{"/truncation", {{"max_length", 5}}, kUnsupported, "truncation is set"},
        Refusal{"/padding", {{"length", 5}}, kUnsupported, "padding is set"},
        Refusal{"/normalizer", {{"type", "NFC"}}, kUnsupported, "normalizer.type is 'NFC'"},
        Refusal{"/normalizer",
                {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}}}},
                kUnsupported,
                "normalizer.normalizers is not empty"},
        Refusal{"/pre_tokenizer", nullptr, kCorrupt, "pre_tokenizer is not an object"},
        Refusal{"/pre_tokenizer/type", "Whitespace", kUnsupported, "pre_tokenizer.type is 'Whitespace'"},
        Refusal{"/pre_tokenizer/pretokenizers", json::array(), kCorrupt, "pre_tokenizer.pretokenizers is not a list"},
        Refusal{kSplit + "/type", "Digits", kUnsupported, "pretokenizers[0].type is 'Digits'"},
        Refusal{kSplit + "/behavior", "Removed", kUnsupported, "pretokenizers[0].behavior is 'Removed'"},
        Refusal{kSplit + "/invert", true, kUnsupported, "pretokenizers[0].invert is true"},
        Refusal{kSplit + "/pattern", {{"String", "a"}}, kUnsupported, "pretokenizers[0].pattern.String is set"},
        Refusal{kSplit + "/pattern/Regex", 5, kCorrupt, "pretokenizers[0].pattern.Regex is not a string"},
        Refusal{kSplit + "/pattern/Regex", "\\w+", kUnsupported, "pre_tokenizer: split 0: the pattern has the escape"},
        Refusal{kByteLevel + "/type", "Split", kUnsupported, "pretokenizers[1].type is 'Split'"},
        Refusal{kByteLevel + "/add_prefix_space", true, kUnsupported, "pretokenizers[1].add_prefix_space is true"},
        Refusal{kByteLevel + "/use_regex", nullptr, kUnsupported, "pretokenizers[1].use_regex is true"},
        Refusal{"/post_processor", {{"type", "TemplateProcessing"}}, kUnsupported, "post_processor.type is"},
        Refusal{"/decoder", {{"type", "WordPiece"}}, kUnsupported, "decoder.type is 'WordPiece'"},
        Refusal{"/decoder", nullptr, kCorrupt, "decoder is not an object"},
        Refusal{"/model/type", "Unigram", kUnsupported, "model.type is 'Unigram'"},
        Refusal{"/model/dropout", 0.1, kUnsupported, "model.dropout is set"},
        Refusal{"/model/unk_token", "<unk>", kUnsupported, "model.unk_token is set"},
        Refusal{"/model/fuse_unk", true, kUnsupported, "model.fuse_unk is true"},
        Refusal{"/model/byte_fallback", true, kUnsupported, "model.byte_fallback is true"},
        Refusal{"/model/continuing_subword_prefix", "##", kUnsupported, "model.continuing_subword_prefix is set"},
        Refusal{"/model/end_of_word_suffix", "</w>", kUnsupported, "model.end_of_word_suffix is set"},
        Refusal{"/model/ignore_merges", 1, kCorrupt, "model.ignore_merges is not true or false"},
        Refusal{"/model/vocab", json::array(), kCorrupt, "model.vocab is not an object"},
        Refusal{"/model/merges", json::object(), kCorrupt, "model.merges is not a list"},
        Refusal{"/model/merges", nullptr, kCorrupt, "model.merges is not a list"},
        Refusal{"/model/vocab/a", -1, kCorrupt, "'a' has the id -1"},
        Refusal{"/model/vocab/a", 1 << 24, kCorrupt, "'a' has the id 16777216"},
        Refusal{"/model/vocab/a", 1.5, kCorrupt, "the id of 'a' is not an integer"},
        Refusal{"/model/vocab/a", {1}, kCorrupt, "the id of 'a' is not an integer"},
        Refusal{"/model/vocab/a", 0x62, kCorrupt, "'a' and 'b' have the same id 98"},
        Refusal{"/model/merges/0", "a", kCorrupt, "model.merges[0] is not two tokens"},
        Refusal{"/model/merges/0", "a b c", kCorrupt, "model.merges[0] is not two tokens"},
        Refusal{"/model/merges/0", {"a"}, kCorrupt, "model.merges[0] has less than two parts"},
        Refusal{"/model/merges/0", {"a", "b", "c"}, kCorrupt, "model.merges[0] has more than two parts"},
        Refusal{"/model/merges/0", {"a", 5}, kCorrupt, "model.merges[1] is neither"},
        Refusal{"/model/merges/0", "a b", kCorrupt, "model.merges[0]: 'ab' is not in model.vocab"},
        Refusal{"/model/merges/0", "a xx", kCorrupt, "model.merges[0]: 'xx' is not in model.vocab"},
        Refusal{"/added_tokens", "x", kCorrupt, "added_tokens is not a list"},
        Refusal{"/added_tokens/0", {{"id", 300}}, kCorrupt, "added_tokens[0].content is not a string"},
        Refusal{"/added_tokens/0", added_token(-1, "x"), kCorrupt, "added_tokens[0].id is not an integer"},
        Refusal{"/added_tokens/0", added_token(1 << 24, "xx"), kCorrupt, "added_tokens[0].id is not an integer"},
        Refusal{"/added_tokens/0", added_token(300, ""), kUnsupported, "has 0 bytes of content"},
        Refusal{"/added_tokens/0", added_token(300, std::string(1025, 'x')), kUnsupported, "has 1025 bytes of content"},
        Refusal{"/added_tokens/0", added_token(97, "xx"), kCorrupt, "contradicts model.vocab"},
        Refusal{"/added_tokens/0", added_token(300, "a"), kCorrupt, "contradicts model.vocab"},
        Refusal{"/added_tokens", {added_token(300, "xx"), added_token(300, "yy")}, kCorrupt, "repeats an id"},
        Refusal{"/added_tokens", {added_token(300, "xx"), added_token(301, "xx")}, kCorrupt, "'xx' stands twice"}));

TEST(TokenizerJson, AddedTokensThatStripOrWantWholeWordsAreRefused) {
  for (const char* flag : {"single_word", "lstrip", "rstrip"}) {
    json file = byte_tokenizer();
    file["added_tokens"].push_back(added_token(300, "<x>"));
    file["added_tokens"][0][flag] = true;
    expect_refused(file.dump(), kUnsupported, std::string("added_tokens[0].") + flag + " is true");
  }
}

TEST(TokenizerJson, EveryByteNeedsAToken) {
  json file = byte_tokenizer();
  file["model"]["vocab"].erase("Ġ");
  expect_refused(file.dump(), kCorrupt, "the byte 0x20 has no token");
}

TEST(TokenizerJson, APairTwiceIsRefused) {
  json file = byte_tokenizer();
  file["model"]["vocab"]["ab"] = 256;
  file["model"]["merges"] = {"a b", json::array({"a", "b"})};
  expect_refused(file.dump(), kCorrupt, "model.merges[1]: the pair 'a', 'b' stands twice");
}

TEST(TokenizerJson, BrokenTextIsRefusedWithItsPlace) {
  expect_refused("", kCorrupt, "is not JSON");
  expect_refused("[]", kCorrupt, "is not a JSON object");
  expect_refused("{\"model\": {\"vocab\": {\"a\": 1,}}}", kCorrupt, "breaks at byte 29");
  expect_refused("{\"a\": 1, \"a\": 2}", kCorrupt, "the key 'a' stands twice");
  expect_refused("{\"model\": {\"vocab\": {\"a\": 1, \"a\": 2}, \"merges\": [], \"merges\": []}}", kCorrupt,
                 "the key 'merges' stands twice");
  expect_refused(std::string(100'000, '['), ErrorCode::kResourceExhausted, "is nested deeper than 16");
  const std::string whole = byte_tokenizer().dump();
  for (std::size_t size = 0; size < whole.size(); size += 97) {
    EXPECT_EQ(Tokenizer::parse(whole.substr(0, size), "cut.json").error().code, kCorrupt) << size;
  }
}

TEST(TokenizerJson, ATokenTwiceInTheVocabularyIsRefused) {
  std::string text = byte_tokenizer().dump();
  const std::string vocab = "\"vocab\":{";
  text.insert(text.find(vocab) + vocab.size(), "\"a\":300,");
  expect_refused(text, kCorrupt, "the token 'a' stands twice");
}

TEST(TokenizerJson, AFileOf64MiBIsTheLimit) {
  expect_refused(std::string((64 << 20) + 1, ' '), ErrorCode::kResourceExhausted, "67108864");
}

}  // namespace
}  // namespace hadal::text
