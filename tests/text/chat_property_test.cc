// Laws of the chat encoding over generated messages and transcripts.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "text/chat_json.h"
#include "text/generated_chats.h"
#include "text/parser_oracle.h"
#include "text/transcripts.h"

namespace hadal::text {
namespace {

std::string as_text(const ParsedMessage& message) {
  return to_json(parsed_to_json(message)) + std::to_string(static_cast<int>(message.finish_reason));
}

ParsedMessage parse_pieces(const std::vector<std::string_view>& pieces, const ParserOptions& options,
                           StopReason reason) {
  ChatParser parser(options);
  for (const std::string_view piece : pieces) static_cast<void>(parser.push(piece));
  static_cast<void>(parser.finish(reason));
  return std::move(parser).take_message();
}

TEST(ChatProperties, ParsingARenderedMessageGivesItBackAndRendersToTheSameText) {
  for (std::uint32_t seed = 0; seed < 3000; ++seed) {
    Choices choices(seed);
    const Message message = assistant_message(choices);
    const RenderOptions options{.thinking_mode = choices.one_in(2) ? "chat" : "thinking"};
    const Output output = output_of(message, options);
    const ParsedMessage parsed = parse_pieces({output.text}, {.thinking = output.thinking}, StopReason::kStop);
    SCOPED_TRACE(testing::Message() << "seed " << seed << ": " << output.text);
    ASSERT_EQ(parsed.content, message.content.text);
    ASSERT_EQ(parsed.reasoning_content, output.thinking ? message.reasoning_content : "");
    ASSERT_EQ(parsed.tool_calls.size(), message.tool_calls.size());
    for (std::size_t i = 0; i < message.tool_calls.size(); ++i) {
      ASSERT_EQ(parsed.tool_calls[i].name, message.tool_calls[i].name);
      ASSERT_EQ(parsed.tool_calls[i].arguments, message.tool_calls[i].arguments);
      ASSERT_TRUE(parsed.tool_calls[i].complete);
    }
    ASSERT_TRUE(parsed.warnings.empty());
    ASSERT_EQ(output_of(to_message(parsed), options).text, output.text);
  }
}

ParserOptions parser_options(Choices& choices) {
  return {.thinking = choices.one_in(2), .tools = !choices.one_in(8), .trim_newlines = choices.one_in(4)};
}

TEST(ChatProperties, NoCutChangesTheMessageAndItIsTheOracles) {
  const ParserOracle oracle;
  std::size_t with_calls = 0;
  for (std::uint32_t seed = 0; seed < 4000; ++seed) {
    Choices choices(seed + 100'000);
    const std::string output = transcript(choices);
    const std::string_view text = output;
    const ParserOptions options = parser_options(choices);
    const StopReason reason = choices.one_in(3) ? StopReason::kLength : StopReason::kStop;
    SCOPED_TRACE(testing::Message() << "seed " << seed << ": " << output);
    const std::string whole = as_text(parse_pieces({text}, options, reason));
    ASSERT_EQ(whole, as_text(oracle.parse(output, options, reason)));
    std::vector<std::string_view> bytes;
    for (std::size_t cut = 0; cut < text.size(); ++cut) bytes.push_back(text.substr(cut, 1));
    ASSERT_EQ(as_text(parse_pieces(bytes, options, reason)), whole);
    for (std::size_t cut = 0; cut <= text.size(); ++cut) {
      ASSERT_EQ(as_text(parse_pieces({text.substr(0, cut), text.substr(cut)}, options, reason)), whole) << cut;
    }
    for (int round = 0; round < 4; ++round) {
      std::vector<std::string_view> pieces;
      for (std::size_t at = 0; at < text.size();) {
        const std::size_t size = 1 + choices.below(12);
        pieces.push_back(text.substr(at, size));
        at += size;
      }
      ASSERT_EQ(as_text(parse_pieces(pieces, options, reason)), whole);
    }
    const ParsedMessage message = parse_pieces({text}, options, reason);
    with_calls += message.tool_calls.empty() ? 0 : 1;
    // Dropping a stray `</think>` may join two harmless halves; everything else must be free of what fires a call.
    const bool joined = std::ranges::count(message.warnings, ChatWarning::kExtraThinkEnd) > 0;
    if (options.tools && !joined) {
      for (const std::string_view shown :
           {std::string_view(message.reasoning_content), std::string_view(message.content)}) {
        ASSERT_EQ(shown.find("<｜DSML｜invoke name=\""), std::string_view::npos);
        ASSERT_EQ(shown.find("<｜DSML｜tool_calls></｜DSML｜tool_calls>"), std::string_view::npos);
      }
    }
  }
  EXPECT_GT(with_calls, 1000U);
}

TEST(ChatProperties, ShowsNeitherMoreNorLessThanIsCertain) {
  const ParserOracle oracle;
  for (std::uint32_t seed = 0; seed < 400; ++seed) {
    Choices choices(seed + 200'000);
    const std::string text = transcript(choices);
    const ParserOptions options = parser_options(choices);
    SCOPED_TRACE(testing::Message() << "seed " << seed << ": " << text);
    ChatParser parser(options);
    std::string reasoning;
    std::string content;
    std::vector<std::string> arguments;
    for (std::size_t begin = 0; begin < text.size();) {
      std::size_t end = begin + 1;
      while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) ++end;
      for (const ChatEvent& event : parser.push(std::string_view(text).substr(begin, end - begin))) {
        if (event.kind == ChatEventKind::kReasoning) reasoning += event.text;
        if (event.kind == ChatEventKind::kContent) content += event.text;
        if (event.kind == ChatEventKind::kCallBegin) arguments.emplace_back();
        if (event.kind == ChatEventKind::kArguments) arguments.at(static_cast<std::size_t>(event.call)) += event.text;
      }
      begin = end;
      const ParsedMessage certain = oracle.parse(text.substr(0, end), options, std::nullopt);
      ASSERT_EQ(reasoning, certain.reasoning_content) << end;
      ASSERT_EQ(content, certain.content) << end;
      ASSERT_EQ(arguments.size(), certain.tool_calls.size()) << end;
      for (std::size_t i = 0; i < arguments.size(); ++i)
        ASSERT_EQ(arguments[i], certain.tool_calls[i].arguments) << end;
    }
  }
}

}  // namespace
}  // namespace hadal::text
