#include "text/json_text.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "text/generated_chats.h"

namespace hadal::text {
namespace {

std::string rewritten(std::string_view text) {
  const auto value = parse_json(text, {.non_finite = true});
  return value ? to_json(*value) : "error: " + value.error().message;
}

TEST(JsonText, WritesNumbersAsPythonDoes) {
  // Expected texts: json.dumps(json.loads(number)) of CPython 3.11.
  const std::pair<std::string_view, std::string_view> cases[] = {
      {"1e15", "1000000000000000.0"},
      {"1e16", "1e+16"},
      {"9999999999999998.0", "9999999999999998.0"},
      {"123456789012345678901234567890", "123456789012345678901234567890"},
      {"-0", "0"},
      {"-0.0", "-0.0"},
      {"0.0001", "0.0001"},
      {"0.00001", "1e-05"},
      {"1E2", "100.0"},
      {"1.10", "1.1"},
      {"5e-324", "5e-324"},
      {"1.5e300", "1.5e+300"},
      {"-1.5E-7", "-1.5e-07"},
      {"0.30000000000000004", "0.30000000000000004"},
      {"1e-400", "0.0"},
      {"-1e-400", "-0.0"},
      {"1e400", "Infinity"},
      {"-12345e999999999999999999", "-Infinity"},
      {"0.0000000000001e309", "1e+296"},
      {"0e999999", "0.0"},
      {"NaN", "NaN"},
      {"-Infinity", "-Infinity"},
  };
  for (const auto& [input, expected] : cases) EXPECT_EQ(rewritten(input), expected) << input;
}

TEST(JsonText, OverflowAndUnderflowAreToldApartByTheDecimalExponent) {
  EXPECT_EQ(rewritten("1" + std::string(400, '0') + ".0"), "Infinity");
  EXPECT_EQ(rewritten("0." + std::string(400, '0') + "1"), "0.0");
  EXPECT_EQ(rewritten("0." + std::string(400, '0') + "1e800"), "Infinity");
  EXPECT_EQ(rewritten("1" + std::string(400, '0') + "e-800"), "0.0");
}

TEST(JsonText, KeepsKeyOrderAndTheLastOfDoubleKeys) {
  EXPECT_EQ(rewritten("{\"b\":1,\"a\":2,\"b\":{\"x\":[ ]}}"), "{\"b\": {\"x\": []}, \"a\": 2}");
  EXPECT_EQ(rewritten("[1 ,2,\n3]"), "[1, 2, 3]");
  EXPECT_EQ(rewritten("{ }"), "{}");
}

TEST(JsonText, EscapesOnlyWhatPythonEscapes) {
  EXPECT_EQ(rewritten(R"("\u0001\u001f\b\f\n\r\t\"\\\/\u007f\u2028\u4e2d\ud83c\udf19")"),
            "\"\\u0001\\u001f\\b\\f\\n\\r\\t\\\"\\\\/\x7f\u2028中🌙\"");
}

TEST(JsonText, RefusesEachKindOfBadTextWithItsCode) {
  const auto code = [](std::string_view text) {
    const auto value = parse_json(text);
    return value ? "ok" : std::string(name(value.error().code));
  };
  using namespace std::string_view_literals;
  for (const std::string_view bad : {""sv,         " "sv,    "{"sv,   "[1,]"sv,    "{\"a\":}"sv,
                                     "{a:1}"sv,    "01"sv,   "1."sv,  ".5"sv,      "+1"sv,
                                     "1e"sv,       "'a'"sv,  "nul"sv, "\"\\x\""sv, "\"\\u12g4\""sv,
                                     "\"a\nb\""sv, "\"a"sv,  "1 2"sv, "NaN"sv,     "\xEF\xBB\xBF{}"sv,
                                     "{}\0"sv,     "tru\0"sv}) {
    EXPECT_EQ(code(bad), "corrupt data") << bad;
    EXPECT_FALSE(is_json(bad)) << bad;
  }
  for (const std::string_view bad :
       {"\"\\ud800\""sv, "\"\\udc00x\""sv, "\"\\ud800\\u0041\""sv, "\"\xC3\""sv, "\"\xED\xA0\x80\""sv}) {
    EXPECT_EQ(code(bad), "invalid argument") << bad;
    EXPECT_FALSE(is_json(bad)) << bad;
  }
  EXPECT_EQ(code(std::string(256, '[') + std::string(256, ']')), "ok");
  EXPECT_EQ(code(std::string(257, '[') + std::string(257, ']')), "resource exhausted");
  EXPECT_EQ(code(std::string(1'000'000, '[')), "resource exhausted");
  EXPECT_EQ(parse_json("[1, 2, 3]", {.values = 3}).error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(parse_json("[1, 2]", {.bytes = 5}).error().code, ErrorCode::kResourceExhausted);
}

TEST(JsonText, NamesTheByteWhereReadingEnded) {
  EXPECT_EQ(parse_json("{\"a\": 1, b}").error().message, "JSON text, byte 9: a key is missing in an object");
}

TEST(JsonText, ManyDoubleKeysTakeLinearTime) {
  std::string text = "{";
  for (int i = 0; i < 200'000; ++i) text += "\"" + std::to_string(i % 100'000) + "\":0,";
  text.back() = '}';
  const auto value = parse_json(text);
  ASSERT_TRUE(value) << value.error().message;
  EXPECT_EQ(value->members.size(), 100'000U);
}

/// Nothing when nlohmann's reader gave up at a number beyond double, which is JSON all the same.
std::optional<bool> accepted_by_nlohmann(const std::string& text) {
  try {
    return !nlohmann::json::parse(text).is_discarded();
  } catch (const nlohmann::json::out_of_range&) {
    return std::nullopt;
  } catch (const nlohmann::json::exception&) {
    return false;
  }
}

TEST(JsonText, ReadsItsOwnTextAndAgreesWithAnotherReaderOnDamagedText) {
  for (std::uint32_t seed = 0; seed < 3000; ++seed) {
    Choices choices(seed);
    const JsonValue value = json_value(choices, 4);
    const std::string text = to_json(value);
    EXPECT_EQ(rewritten(text), text);
    EXPECT_EQ(nlohmann::json::parse(text), nlohmann::json::parse(rewritten(text)));
    std::string damaged = text;
    constexpr std::string_view kBytes = "{}[],:\"\\0 1.e-+truenl\nu8";
    for (int i = 0; i < 2; ++i)
      damaged.insert(choices.below(damaged.size() + 1), 1, kBytes[choices.below(kBytes.size())]);
    const std::optional<bool> accepted = accepted_by_nlohmann(damaged);
    if (accepted) {
      EXPECT_EQ(is_json(damaged), *accepted) << damaged;
    }
    EXPECT_EQ(is_json(damaged), parse_json(damaged).has_value()) << damaged;
  }
}

TEST(JsonText, StrictLimitsRefuseDoubleKeysAndCountPerContainer) {
  JsonLimits limits;
  limits.unique_keys = true;
  limits.members = 2;
  limits.items = 3;
  limits.depth = 2;
  EXPECT_TRUE(parse_json(R"({"a":[1,2,3],"b":{"a":1}})", limits));
  const auto message = [&limits](std::string_view text) {
    const auto value = parse_json(text, limits);
    return value ? std::string("read") : value.error().message;
  };
  EXPECT_EQ(message(R"({"a":1,"a":2})"), "JSON text, byte 10: a key stands twice in an object");
  EXPECT_EQ(message(R"({"a":1,"\u0061":2})"), "JSON text, byte 15: a key stands twice in an object");
  EXPECT_EQ(message(R"({"a":1,"b":2,"c":3})"), "JSON text, byte 16: an object of more than 2 keys");
  EXPECT_EQ(message("[1,2,3,4]"), "JSON text, byte 8: an array of more than 3 items");
  EXPECT_EQ(message("[[[1]]]"), "JSON text, byte 2: nested deeper than 2 levels");
}

TEST(JsonText, CompactFormHasNoSpaces) {
  const auto value = parse_json(R"({ "a" : [1, 2.50, "x, y: z"], "b": {"c": null, "d": true}, "e": [] })");
  ASSERT_TRUE(value);
  std::string text;
  append_compact_json(text, *value);
  EXPECT_EQ(text, R"({"a":[1,2.5,"x, y: z"],"b":{"c":null,"d":true},"e":[]})");
  EXPECT_EQ(JsonValue::of(-9999.0).text, "-9999.0");
  EXPECT_EQ(JsonValue::of(-0.95).text, "-0.95");
}

}  // namespace
}  // namespace hadal::text
