#include "text/chat_parser.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/chat_json.h"

namespace hadal::text {
namespace {

constexpr std::string_view kOpen = "\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n";
constexpr std::string_view kClose = "</｜DSML｜invoke>\n</｜DSML｜tool_calls>";

ParsedMessage parse(std::string_view text, const ParserOptions& options = {.thinking = false},
                    StopReason reason = StopReason::kStop) {
  ChatParser whole(options);
  static_cast<void>(whole.push(text));
  static_cast<void>(whole.finish(reason));
  ChatParser halved(options);
  static_cast<void>(halved.push(text.substr(0, text.size() / 2)));
  static_cast<void>(halved.push(text.substr(text.size() / 2)));
  static_cast<void>(halved.finish(reason));
  EXPECT_EQ(to_json(parsed_to_json(halved.message())), to_json(parsed_to_json(whole.message())));
  return whole.message();
}

std::string warnings(const ParsedMessage& message) {
  std::string result;
  for (const ChatWarning warning : message.warnings) result.append(name(warning)).append(" ");
  return result;
}

std::string around(std::string_view parameters) { return std::string(kOpen).append(parameters).append(kClose); }

TEST(ChatParser, FinishReasonIsToolCallsOnlyAfterAStop) {
  EXPECT_EQ(parse(around("")).finish_reason, FinishReason::kToolCalls);
  EXPECT_EQ(parse(around(""), {.thinking = false}, StopReason::kLength).finish_reason, FinishReason::kLength);
  EXPECT_EQ(parse("x").finish_reason, FinishReason::kStop);
}

TEST(ChatParser, LeadingThinkIsDroppedInBothModes) {
  const ParsedMessage thinking = parse("<think>r</think>c", {.thinking = true});
  EXPECT_EQ(thinking.reasoning_content + "|" + thinking.content, "r|c");
  EXPECT_EQ(warnings(thinking), "leading_think ");
  const ParsedMessage chat = parse("<think>r</think>c");
  EXPECT_EQ(chat.reasoning_content + "|" + chat.content, "r|c");
  EXPECT_EQ(parse("x<think>").content, "x<think>");
  EXPECT_EQ(parse("<think><think>r", {.thinking = true}).reasoning_content, "<think>r");
}

TEST(ChatParser, OnlyMarkerTokensCountWhereTheyAreAskedFor) {
  const ParserOptions options{.thinking = true, .marker_tokens = true};
  const auto parsed = [&options](std::initializer_list<std::pair<std::string_view, std::string_view>> pieces) {
    ChatParser parser(options);
    for (const auto& [text, token] : pieces) static_cast<void>(parser.push(text, token));
    static_cast<void>(parser.finish(StopReason::kStop));
    return std::move(parser).take_message();
  };
  const ParsedMessage quoted = parsed({{"a</think>", ""}, {"b", "</think>"}, {"c<think>", ""}, {around(""), ""}});
  EXPECT_EQ(quoted.reasoning_content, "a</think>b");
  EXPECT_EQ(quoted.content, "c<think>" + around(""));
  EXPECT_EQ(warnings(quoted), "");
  const ParsedMessage called = parsed({{"", "</think>"},
                                       {"\n\n<", "｜DSML｜"},
                                       {"tool_calls>\n<", "｜DSML｜"},
                                       {"invoke name=\"f\">\n<", "｜DSML｜"},
                                       {"parameter name=\"x\" string=\"true\">1</｜DSML｜parameter>", "</think>"},
                                       {"2</", "｜DSML｜"},
                                       {"parameter>\n</", "｜DSML｜"},
                                       {"invoke>\n</", "｜DSML｜"},
                                       {"tool_calls>", ""}});
  ASSERT_EQ(called.tool_calls.size(), 1U);
  EXPECT_EQ(called.tool_calls[0].arguments, R"({"x": "1</｜DSML｜parameter>2"})");
  EXPECT_EQ(warnings(called), "stray_marker ");
  const ParsedMessage stray = parsed({{"a", "<think>"}, {"b<", "｜DSML｜"}, {"c", "<｜User｜>"}, {"", "</think>"}});
  EXPECT_EQ(stray.reasoning_content, "ab<c");
  EXPECT_EQ(warnings(stray), "stray_marker stray_marker ");
}

TEST(ChatParser, EmptyAndBareBlocks) {
  const ParsedMessage empty = parse("a\n\n<｜DSML｜tool_calls>\n</｜DSML｜tool_calls>");
  EXPECT_EQ(empty.content, "a");
  EXPECT_TRUE(empty.tool_calls.empty());
  EXPECT_EQ(empty.finish_reason, FinishReason::kStop);
  const ParsedMessage bare = parse("r\n<｜DSML｜invoke name=\"f\">", {.thinking = true});
  EXPECT_EQ(warnings(bare), "implicit_think_end missing_block_open auto_closed_call ");
  EXPECT_EQ(bare.tool_calls.at(0).arguments, "{}");
}

TEST(ChatParser, AnyUnicodeWhiteSpaceMayStandInsideTags) {
  for (const std::string_view space : {" ", "\t", "\u0085", "\u00A0", "\u1680", "\u2000", "\u200A", "\u2028", "\u2029",
                                       "\u202F", "\u205F", "\u3000"}) {
    const std::string s(space);
    const std::string text = "<｜DSML｜tool_calls" + s + ">" + s + "<｜DSML｜invoke" + s + "name=\"f\">" + s +
                             "<｜DSML｜parameter" + s + "name=\"a\"" + s + "string=\"true\"" + s +
                             ">v</｜DSML｜parameter" + s + ">" + s + "</｜DSML｜invoke" + s + "></｜DSML｜tool_calls" +
                             s + ">" + s;
    const ParsedMessage message = parse(text);
    ASSERT_EQ(message.tool_calls.size(), 1U) << text;
    EXPECT_EQ(message.tool_calls[0].arguments, "{\"a\": \"v\"}");
    EXPECT_EQ(warnings(message), "");
  }
  for (const std::string_view other : {"\u180E", "\u200B", "\u2060", "\uFEFF"}) {
    EXPECT_TRUE(parse("<｜DSML｜invoke" + std::string(other) + "name=\"f\">").tool_calls.empty());
  }
}

TEST(ChatParser, ALongNameIsSkippedAndTheRestGoesOn) {
  const std::string longest(ChatParser::kMaxTagBytes - 2, 'n');
  const std::string tail = "\">\n</｜DSML｜invoke>\n<｜DSML｜invoke name=\"g\">\n" + std::string(kClose);
  const ParsedMessage kept = parse("<｜DSML｜tool_calls><｜DSML｜invoke name=\"" + longest + tail);
  ASSERT_EQ(kept.tool_calls.size(), 2U);
  EXPECT_EQ(kept.tool_calls[0].name, longest);
  const ParsedMessage skipped = parse("<｜DSML｜tool_calls><｜DSML｜invoke name=\"" + longest + "n" + tail);
  ASSERT_EQ(skipped.tool_calls.size(), 1U);
  EXPECT_EQ(skipped.tool_calls[0].name, "g");
  EXPECT_EQ(warnings(skipped), "junk_in_block ");
}

TEST(ChatParser, ALongParameterTagIsSkipped) {
  const std::string tag =
      "<｜DSML｜parameter name=\"" + std::string(ChatParser::kMaxTagBytes, 'k') + "\" string=\"true\">";
  const ParsedMessage message =
      parse(around(tag + "v</｜DSML｜parameter><｜DSML｜parameter name=\"b\" string=\"true\">w</｜DSML｜parameter>"));
  ASSERT_EQ(message.tool_calls.size(), 1U);
  EXPECT_EQ(message.tool_calls[0].arguments, "{\"b\": \"w\"}");
  EXPECT_EQ(warnings(message), "junk_in_block ");
}

TEST(ChatParser, EndlessWhiteSpaceInATagDoesNotHoldTheTextForEver) {
  ChatParser parser({.thinking = false});
  std::size_t shown = 0;
  constexpr std::string_view kTag = "<｜DSML｜tool_calls";
  static_cast<void>(parser.push(kTag));
  for (std::size_t i = 0; i < 2 * ChatParser::kMaxTagBytes; ++i) {
    for (const ChatEvent& event : parser.push(" ")) shown += event.text.size();
  }
  EXPECT_EQ(shown, kTag.size() + 2 * ChatParser::kMaxTagBytes);
}

TEST(ChatParser, CallsBeyondTheLimitAreSkipped) {
  std::string text = "<｜DSML｜tool_calls>\n";
  for (int call = 0; call < ChatParser::kMaxCalls + 5; ++call) {
    text += "<｜DSML｜invoke name=\"f" + std::to_string(call) + "\">\n\n</｜DSML｜invoke>\n";
  }
  const ParsedMessage message = parse(text + "</｜DSML｜tool_calls>");
  ASSERT_EQ(std::ssize(message.tool_calls), ChatParser::kMaxCalls);
  EXPECT_EQ(message.tool_calls.back().name, "f127");
  EXPECT_EQ(warnings(message), "junk_in_block ");
}

TEST(ChatParser, AHugeJsonValueEndsTheCall) {
  const std::string digits(ChatParser::kMaxJsonValueBytes, '1');
  constexpr std::string_view kTag = "<｜DSML｜parameter name=\"a\" string=\"false\">";
  const ParsedMessage kept = parse(around(std::string(kTag) + digits + "</｜DSML｜parameter>"));
  EXPECT_TRUE(kept.tool_calls.at(0).complete);
  EXPECT_EQ(kept.tool_calls.at(0).arguments.size(), digits.size() + 7);
  const ParsedMessage cut = parse(around(std::string(kTag) + digits + "1</｜DSML｜parameter>"));
  EXPECT_FALSE(cut.tool_calls.at(0).complete);
  EXPECT_EQ(cut.tool_calls.at(0).arguments, "{\"a\": ");
  EXPECT_EQ(warnings(cut), "truncated_call ");
}

TEST(ChatParser, ValuesThatAreNoJsonBecomeStrings) {
  const auto value = [](std::string_view text) {
    const ParsedMessage message =
        parse(around("<｜DSML｜parameter name=\"a\" string=\"false\">" + std::string(text) + "</｜DSML｜parameter>"));
    return message.tool_calls.at(0).arguments + " " + warnings(message);
  };
  using namespace std::string_view_literals;
  EXPECT_EQ(value("[1,2]"), "{\"a\": [1,2]} ");
  EXPECT_EQ(value(""), "{\"a\": \"\"} invalid_json_value ");
  EXPECT_EQ(value("NaN"), "{\"a\": \"NaN\"} invalid_json_value ");
  EXPECT_EQ(value("1\0x"sv), "{\"a\": \"1\\u0000x\"} invalid_json_value ");
  EXPECT_EQ(value("\"\\ud800\""), "{\"a\": \"\\\"\\\\ud800\\\"\"} invalid_json_value ");
  const std::string deepest = std::string(255, '[') + std::string(255, ']');
  EXPECT_EQ(value(deepest), "{\"a\": " + deepest + "} ");
  EXPECT_TRUE(parse_json("{\"a\": " + deepest + "}"));
  EXPECT_EQ(value(std::string(256, '[') + std::string(256, ']')),
            "{\"a\": \"" + std::string(256, '[') + std::string(256, ']') + "\"} invalid_json_value ");
}

TEST(ChatParser, OtherSpellingsOfTheMarkerCountOnlyWhenAskedFor) {
  for (const std::string_view spelling : {"｜｜DSML｜｜", "DSML｜"}) {
    const std::string d(spelling);
    const std::string text = "x\n\n<" + d + "tool_calls>\n<" + d + "invoke name=\"f\">\n<" + d +
                             "parameter name=\"a\" string=\"true\">v</" + d + "parameter>\n</" + d + "invoke>\n</" + d +
                             "tool_calls>";
    EXPECT_EQ(parse(text).content, text);
    const ParsedMessage message = parse(text, {.thinking = false, .lenient_dsml = true});
    EXPECT_EQ(message.content, "x");
    ASSERT_EQ(message.tool_calls.size(), 1U);
    EXPECT_EQ(message.tool_calls[0].arguments, "{\"a\": \"v\"}");
    EXPECT_EQ(warnings(message), "");
  }
}

TEST(ChatParser, EventsCarryTheCallTheyBelongTo) {
  ChatParser parser({.thinking = false});
  const std::string text =
      "t\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n</｜DSML｜invoke>\n<｜DSML｜invoke name=\"g\">\n"
      "<｜DSML｜parameter name=\"a\" string=\"true\">v</｜DSML｜parameter></｜DSML｜invoke>";
  std::string log;
  for (const ChatEvent& event : parser.push(text)) {
    log += std::to_string(static_cast<int>(event.kind)) + ":" + std::to_string(event.call) + ":" +
           std::string(event.text) + ";";
  }
  EXPECT_EQ(log, "1:-1:t;2:0:f;3:0:{};4:0:;2:1:g;3:1:{\"a\": \"v\"};4:1:;");
}

TEST(ChatParser, PlainTextPassesInOneEventWithoutBeingHeld) {
  ChatParser parser({.thinking = true});
  const auto events = parser.push("all of this at once.");
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].text, "all of this at once.");
  EXPECT_TRUE(parser.finish(StopReason::kLength).empty());
}

}  // namespace
}  // namespace hadal::text
