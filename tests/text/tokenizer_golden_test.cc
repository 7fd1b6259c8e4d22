// Every golden case of tokenize.jsonl, tokenize_bytes.jsonl and detokenize.jsonl, exactly.
#include <gtest/gtest.h>

#include "golden_text.h"

namespace hadal::text {
namespace {

using nlohmann::json;

std::string text_of(const json& line) {
  if (line.contains("text")) return line["text"];
  std::string text;
  for (int i = 0; i < line["repeat"][1]; ++i) text += line["repeat"][0].get<std::string>();
  return text;
}

std::vector<std::int32_t> ids_of(const json& line) {
  if (line.contains("ids")) return line["ids"];
  std::vector<std::int32_t> ids;
  for (const json& run : line["ids_rle"]) ids.insert(ids.end(), run[1].get<std::size_t>(), run[0].get<std::int32_t>());
  return ids;
}

std::string bytes_of_hex(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

TEST(TokenizerGolden, TextsGiveTheReferencesIds) {
  const auto lines = golden_lines("tokenize.jsonl");
  ASSERT_EQ(lines.size(), 601U);
  int plain_differs = 0;
  for (const json& line : lines) {
    const std::string text = text_of(line);
    const std::vector<std::int32_t> expected = ids_of(line);
    const auto ids = v4_tokenizer().encode(text);
    ASSERT_TRUE(ids) << ids.error().message;
    EXPECT_EQ(*ids, expected) << line["id"];
    const auto plain = v4_tokenizer().encode(text, {.added_tokens = AddedTokens::kOff});
    ASSERT_TRUE(plain) << plain.error().message;
    EXPECT_EQ(*plain, line.contains("ids_plain") ? line["ids_plain"].get<std::vector<std::int32_t>>() : expected)
        << line["id"];
    plain_differs += line.contains("ids_plain") ? 1 : 0;
    EXPECT_EQ(v4_tokenizer().decode(expected).value(), text) << line["id"];
  }
  EXPECT_GT(plain_differs, 50);
}

TEST(TokenizerGolden, BytesAreRefusedOrReplaced) {
  const auto lines = golden_lines("tokenize_bytes.jsonl");
  ASSERT_EQ(lines.size(), 23U);
  for (const json& line : lines) {
    const std::string bytes = bytes_of_hex(line["hex"]);
    const auto strict = v4_tokenizer().encode(bytes);
    const auto bad = find_ill_formed(bytes);
    if (line["first_invalid"].is_null()) {
      EXPECT_FALSE(bad) << line["id"];
      EXPECT_EQ(strict.value(), line["ids"].get<std::vector<std::int32_t>>()) << line["id"];
    } else {
      ASSERT_TRUE(bad) << line["id"];
      EXPECT_EQ(bad->offset, line["first_invalid"].get<std::int64_t>()) << line["id"];
      ASSERT_FALSE(strict) << line["id"];
      EXPECT_EQ(strict.error().code, ErrorCode::kInvalidArgument);
      EXPECT_NE(strict.error().message.find("offset " + line["first_invalid"].dump() + " "), std::string::npos)
          << strict.error().message;
    }
    EXPECT_EQ(replace_ill_formed(bytes), line["replaced"].get<std::string>()) << line["id"];
    const auto lenient = v4_tokenizer().encode(bytes, {.ill_formed = IllFormedText::kReplace});
    EXPECT_EQ(lenient.value(), line["ids"].get<std::vector<std::int32_t>>()) << line["id"];
  }
}

TEST(TokenizerGolden, TokensBecomeTextAsTheyArrive) {
  const auto lines = golden_lines("detokenize.jsonl");
  ASSERT_EQ(lines.size(), 57U);
  for (const json& line : lines) {
    const DecodeOptions options{.skip_special = line["skip_special"]};
    const std::vector<std::int32_t> ids = line["ids"];
    DetokenizingStream stream(v4_tokenizer(), options);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      std::string piece;
      ASSERT_TRUE(stream.push(ids[i], piece));
      EXPECT_EQ(piece, line["pieces"][i].get<std::string>()) << line["id"] << " piece " << i;
    }
    std::string tail;
    stream.finish(tail);
    EXPECT_EQ(tail, line["tail"].get<std::string>()) << line["id"];
    EXPECT_EQ(v4_tokenizer().decode(ids, options).value(), line["text"].get<std::string>()) << line["id"];
  }
}

}  // namespace
}  // namespace hadal::text
