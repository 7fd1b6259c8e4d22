#include "text/utf8.h"

#include <gtest/gtest.h>

#include "random_text.h"

namespace hadal::text {
namespace {

TEST(Utf8, EveryCodePointIsWellFormedAndComesBack) {
  for (char32_t code_point = 0; code_point < 0x110000; ++code_point) {
    std::string text;
    append_utf8(code_point, text);
    const bool is_surrogate = code_point >= 0xD800 && code_point < 0xE000;
    ASSERT_EQ(find_ill_formed(text).has_value(), is_surrogate) << std::hex << static_cast<std::uint32_t>(code_point);
    const Decoded decoded = decode_utf8(text.data());
    ASSERT_EQ(decoded.code_point, code_point);
    ASSERT_EQ(static_cast<std::size_t>(decoded.size), text.size());
  }
}

TEST(Utf8, IllFormedPartsAreMaximal) {
  struct Case {
    std::string bytes;
    std::int64_t offset;
    std::int64_t size;
    std::string replaced;
  };
  const std::vector<Case> cases = {
      {"ab\x80", 2, 1, "ab\uFFFD"},
      {"\xC0\xAF", 0, 1, "\uFFFD\uFFFD"},
      {"\xE0\x80\x80", 0, 1, "\uFFFD\uFFFD\uFFFD"},
      {"\xED\xA0\x80", 0, 1, "\uFFFD\uFFFD\uFFFD"},
      {"\xF4\x90\x80\x80", 0, 1, "\uFFFD\uFFFD\uFFFD\uFFFD"},
      {"\xF0\x9F\x8E", 0, 3, "\uFFFD"},
      {"\xF0\x9F\x8E\x41", 0, 3, "\uFFFD\x41"},
      {"12345678\xE4\xB8\xE4\xB8\xAD", 8, 2, "12345678\uFFFD中"},
      {"\xF5", 0, 1, "\uFFFD"},
  };
  for (const Case& one : cases) {
    const auto bad = find_ill_formed(one.bytes);
    ASSERT_TRUE(bad);
    EXPECT_EQ(bad->offset, one.offset) << testing::PrintToString(one.bytes);
    EXPECT_EQ(bad->size, one.size) << testing::PrintToString(one.bytes);
    EXPECT_EQ(replace_ill_formed(one.bytes), one.replaced);
  }
}

// Texts of lead bytes, continuation bytes at the limits of every second byte, and whole characters.
std::string random_bytes(Random& random) {
  static const std::vector<std::string> kParts = {"a",    "\x80", "\x8F", "\x90", "\x9F", "\xA0", "\xBF",
                                                  "\xC1", "\xC2", "\xE0", "\xE1", "\xED", "\xEF", "\xF0",
                                                  "\xF1", "\xF4", "\xF5", "\xFF", "é",    "中",   "🎉"};
  std::string bytes;
  for (std::uint32_t length = random.below(12); length > 0; --length) {
    bytes += kParts[random.below(static_cast<std::uint32_t>(kParts.size()))];
  }
  return bytes;
}

TEST(Utf8Stream, EveryCutGivesTheWholeText) {
  for (std::uint32_t number = 0; number < 50'000; ++number) {
    Random random(2, number);
    const std::string bytes = random_bytes(random);
    const std::string whole = replace_ill_formed(bytes);
    std::string out;
    Utf8Stream stream;
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t size = std::min<std::size_t>(random.below(4), bytes.size() - at);
      stream.push(std::string_view(bytes).substr(at, size), out);
      ASSERT_FALSE(find_ill_formed(out));
      ASSERT_LE(stream.undecided().size(), 3U);
      at += size;
    }
    stream.finish(out);
    ASSERT_EQ(out, whole) << "case " << number << ": " << testing::PrintToString(bytes);
  }
}

TEST(Utf8Stream, ACopyContinuesFromItsState) {
  Utf8Stream stream;
  std::string first;
  stream.push("\xF0\x9F\x8E", first);
  Utf8Stream copy = stream;
  std::string second;
  stream.finish(first);
  copy.push("\x89", second);
  EXPECT_EQ(first, "\uFFFD");
  EXPECT_EQ(second, "🎉");
}

}  // namespace
}  // namespace hadal::text
