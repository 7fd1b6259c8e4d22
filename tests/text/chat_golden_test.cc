// The chat encoding against the official encoder's prompts, and the parser against the golden transcripts.
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "text/chat_json.h"
#include "text/golden_lines.h"

namespace hadal::text {
namespace {

using nlohmann::json;

json as_json(const JsonValue& value) { return json::parse(to_json(value)); }

ParserOptions options_of(const json& line) {
  return {.thinking = line["options"]["thinking"],
          .tools = line["options"]["tools"],
          .trim_newlines = line["options"]["trim_newlines"]};
}

StopReason reason_of(const json& line) { return line["finish"] == "stop" ? StopReason::kStop : StopReason::kLength; }

json parse_in(const json& line, const std::vector<std::string_view>& pieces) {
  ChatParser parser(options_of(line));
  for (const std::string_view piece : pieces) static_cast<void>(parser.push(piece));
  static_cast<void>(parser.finish(reason_of(line)));
  return as_json(parsed_to_json(parser.message()));
}

TEST(ChatGolden, RendersEveryPrompt) {
  const auto lines = raw_golden_lines("chat_render.jsonl");
  ASSERT_EQ(lines.size(), 124U);
  for (const GoldenLine& line : lines) {
    SCOPED_TRACE(line.json["id"].get<std::string>() + " " + line.json["desc"].get<std::string>());
    const auto value = parse_json(line.text);
    ASSERT_TRUE(value) << value.error().message;
    const auto messages = messages_from_json(*value->find("messages"), "messages");
    ASSERT_TRUE(messages) << messages.error().message;
    std::vector<Message> context;
    if (const JsonValue* earlier = value->find("context")) context = messages_from_json(*earlier, "context").value();
    RenderOptions options = render_options_from_json(*value->find("options"), {}).value();
    std::vector<ChatRevision> revisions;
    if (line.json["revision"] != "0731") revisions.push_back(ChatRevision::k2604);
    if (line.json["revision"] != "2604") revisions.push_back(ChatRevision::k0731);
    for (const ChatRevision revision : revisions) {
      options.revision = revision;
      const auto prompt = render_chat(*messages, options, context);
      if (line.json.contains("error")) {
        ASSERT_FALSE(prompt);
        EXPECT_EQ(name(prompt.error().problem), line.json["error"].get<std::string>());
      } else {
        ASSERT_TRUE(prompt) << prompt.error().sentence;
        EXPECT_EQ(prompt->text, line.json["prompt"].get<std::string>());
        EXPECT_EQ(prompt->inside_reasoning, prompt->text.ends_with("<think>"));
      }
    }
  }
}

TEST(ChatGolden, ParsesEveryOutputInEveryCut) {
  const auto lines = raw_golden_lines("chat_parse.jsonl");
  ASSERT_EQ(lines.size(), 57U);
  for (const GoldenLine& line : lines) {
    SCOPED_TRACE(line.json["id"].get<std::string>() + " " + line.json["desc"].get<std::string>());
    const std::string output = line.json["text"];
    const std::string_view text = output;
    EXPECT_EQ(parse_in(line.json, {text}), line.json["expected"]);
    std::vector<std::string_view> bytes;
    for (std::size_t cut = 0; cut < text.size(); ++cut) {
      ASSERT_EQ(parse_in(line.json, {text.substr(0, cut), text.substr(cut)}), line.json["expected"]) << "cut " << cut;
      bytes.push_back(text.substr(cut, 1));
    }
    EXPECT_EQ(parse_in(line.json, bytes), line.json["expected"]);
  }
}

TEST(ChatGolden, ShowsEveryPieceAsSoonAsItIsCertain) {
  const auto lines = raw_golden_lines("chat_stream.jsonl");
  ASSERT_EQ(lines.size(), 42U);
  for (const GoldenLine& line : lines) {
    SCOPED_TRACE(line.json["id"].get<std::string>() + " " + line.json["desc"].get<std::string>());
    ChatParser parser(options_of(line.json));
    std::size_t feed = 0;
    for (const auto& piece : line.json["feeds"]) {
      const json shown = as_json(events_to_json(parser.push(piece.get<std::string>())));
      EXPECT_EQ(shown, line.json["emits"][feed]) << "feed " << feed;
      ++feed;
    }
    EXPECT_EQ(as_json(events_to_json(parser.finish(reason_of(line.json)))), line.json["at_finish"]);
  }
}

}  // namespace
}  // namespace hadal::text
