#include "text/chat_render.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "testing/temp_directory.h"
#include "text/chat_json.h"

namespace hadal::text {
namespace {

std::vector<Message> chat(std::string_view json) {
  const auto value = parse_json(json);
  EXPECT_TRUE(value) << json;
  const auto messages = messages_from_json(*value, "messages");
  EXPECT_TRUE(messages) << messages.error().message;
  return *messages;
}

std::vector<std::string> caller_texts(const RenderedPrompt& prompt) {
  std::vector<std::string> texts;
  std::int64_t last = -1;
  for (const ByteRange& range : prompt.caller_ranges) {
    EXPECT_GT(range.begin, last);
    EXPECT_GT(range.end, range.begin);
    last = range.end;
    texts.push_back(
        prompt.text.substr(static_cast<std::size_t>(range.begin), static_cast<std::size_t>(range.end - range.begin)));
  }
  EXPECT_LE(last, static_cast<std::int64_t>(prompt.text.size()));
  return texts;
}

TEST(ChatRender, NotesWhatTheCallerWroteAndNothingElse) {
  const auto prompt = render_chat(chat(R"([
      {"role": "system", "content": "S", "tools": [{"type": "function", "function": {"name": "f"}},
                                                    {"type": "function", "function": {"name": "g"}}],
       "response_format": {"x": 1}},
      {"role": "latest_reminder", "content": "R"},
      {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
      {"role": "assistant", "reasoning_content": "why", "content": "what",
       "tool_calls": [{"id": "i", "type": "function", "function": {"name": "f", "arguments": "{\"k\": \"v\", \"n\": [1]}"}}]},
      {"role": "tool", "tool_call_id": "i", "content": [{"type": "text", "text": "res"}, {"type": "image"}]}])"),
                                  {});
  ASSERT_TRUE(prompt) << prompt.error().sentence;
  EXPECT_EQ(caller_texts(*prompt),
            (std::vector<std::string>{"S", "{\"name\": \"f\"}", "{\"name\": \"g\"}", "{\"x\": 1}", "R", "one", "two",
                                      "why", "what", "f", "k", "v", "n", "[1]", "res", "[Unsupported image]"}));
  EXPECT_NE(prompt->text.find("<｜User｜>one\n\ntwo<｜Assistant｜><think>why</think>what\n\n"), std::string::npos);
  EXPECT_TRUE(prompt->text.ends_with("<tool_result>res\n\n[Unsupported image]</tool_result><｜Assistant｜><think>"));
}

TEST(ChatRender, TouchingTextsOfTheCallerAreOneRange) {
  const auto prompt =
      render_chat(chat(R"([{"role": "system", "content": "A"}, {"role": "system", "content": "B"}])"), {});
  EXPECT_EQ(caller_texts(*prompt), std::vector<std::string>{"AB"});
}

TEST(ChatRender, ErrorsNameProblemMessageAndField) {
  const auto problem = [](std::string_view json, const RenderOptions& options = {}) {
    const auto prompt = render_chat(chat(json), options);
    if (prompt) return std::string("none");
    const RenderError& error = prompt.error();
    EXPECT_EQ(error.to_error().code, ErrorCode::kInvalidArgument);
    return std::string(name(error.problem)) + " " + std::to_string(error.message) + " " + error.field;
  };
  EXPECT_EQ(problem(R"([{"role": "user", "content": "x"}, {"role": "critic"}])"), "unknown_role 1 role");
  EXPECT_EQ(problem(R"([{"role": "developer"}])"), "developer_without_content 0 content");
  EXPECT_EQ(problem(R"([{"role": "user", "content": "x", "task": "sum"}])"), "unknown_task 0 task");
  EXPECT_EQ(problem("[]", {.thinking_mode = "fast"}), "unknown_thinking_mode -1 thinking_mode");
  EXPECT_EQ(problem("[]", {.reasoning_effort = "medium"}), "unknown_effort -1 reasoning_effort");
  EXPECT_EQ(problem("[]", {.revision = ChatRevision::k2604, .reasoning_effort = "low"}),
            "unknown_effort -1 reasoning_effort");
  EXPECT_EQ(problem(R"([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}},
                                                             {"function": {"name": "f", "arguments": "[]"}}]}])"),
            "arguments_not_an_object 0 tool_calls[1].function.arguments");
  EXPECT_EQ(
      problem(
          R"([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{\"a\": \"\\ud800\"}"}}]}])"),
      "invalid_arguments 0 tool_calls[0].function.arguments");
  EXPECT_EQ(problem(R"([{"role": "system", "tools": [{"type": "function"}]}])"), "invalid_tool 0 tools[0]");
  EXPECT_EQ(problem(R"([{"role": "user", "content": [{"type": "audio"}]}])"), "invalid_content 0 content");
  EXPECT_EQ(render_chat(chat(R"([{"role": "user", "content": "x"}, {"role": "critic"}])"), {}).error().sentence,
            "messages[1].role: 'critic' is no role; use system, user, assistant, tool, developer or latest_reminder");
}

TEST(ChatRender, AMessageThatIsNotShownIsNotChecked) {
  // In thinking mode unknown roles before the last user message are dropped, as in the official code.
  const auto prompt = render_chat(chat(R"([{"role": "critic"}, {"role": "user", "content": "x"}])"), {});
  ASSERT_TRUE(prompt);
  EXPECT_EQ(prompt->text, "<｜begin▁of▁sentence｜><｜User｜>x<｜Assistant｜><think>");
  EXPECT_FALSE(
      render_chat(chat(R"([{"role": "critic"}, {"role": "user", "content": "x"}])"), {.thinking_mode = "chat"}));
}

TEST(ChatRender, ContextIsNeverMergedWithWhatIsShown) {
  const auto context = chat(R"([{"role": "user", "content": "a"}])");
  const auto prompt = render_chat(chat(R"([{"role": "user", "content": "b"}])"), {}, context);
  ASSERT_TRUE(prompt);
  EXPECT_EQ(prompt->text, "<｜User｜>b<｜Assistant｜><think>");
}

TEST(ChatRender, ResultsAreSortedByTheCallsOfTheContext) {
  const auto context = chat(R"([{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [
      {"id": "x", "function": {"name": "f", "arguments": "{}"}}, {"id": "y", "function": {"name": "f", "arguments": "{}"}}]}])");
  const auto prompt = render_chat(chat(R"([{"role": "tool", "tool_call_id": "y", "content": "2"},
                                           {"role": "user", "content": "and"},
                                           {"role": "tool", "tool_call_id": "x", "content": "1"}])"),
                                  {.thinking_mode = "chat"}, context);
  ASSERT_TRUE(prompt);
  EXPECT_EQ(prompt->text,
            "<｜User｜><tool_result>1</tool_result>\n\nand\n\n<tool_result>2</tool_result><｜Assistant｜></think>");
}

TEST(ChatRender, ReasoningCanBeContinued) {
  const auto prompt = render_chat(chat(R"([{"role": "user", "content": "q"},
      {"role": "assistant", "reasoning_content": "so far", "continue_reasoning": true}])"),
                                  {});
  ASSERT_TRUE(prompt) << prompt.error().sentence;
  EXPECT_EQ(prompt->text, "<｜begin▁of▁sentence｜><｜User｜>q<｜Assistant｜><think>so far");
  EXPECT_TRUE(prompt->inside_reasoning);
  const auto refused = [](std::string_view json, const RenderOptions& options) {
    const auto result = render_chat(chat(json), options);
    return !result && result.error().problem == RenderProblem::kInvalidContinuation;
  };
  constexpr std::string_view kOpen = R"([{"role": "user"}, {"role": "assistant", "continue_reasoning": true}])";
  EXPECT_TRUE(refused(kOpen, {.thinking_mode = "chat"}));
  EXPECT_TRUE(refused(R"([{"role": "assistant", "continue_reasoning": true}])", {}));
  EXPECT_TRUE(refused(R"([{"role": "user"}, {"role": "assistant", "continue_reasoning": true, "content": "x"}])", {}));
  EXPECT_TRUE(refused(R"([{"role": "user"}, {"role": "assistant", "continue_reasoning": true}, {"role": "user"}])",
                      {.drop_thinking = false}));
}

TEST(ChatRender, TellsWhereTheModelStarts) {
  const auto inside = [](std::string_view json, std::string mode) {
    return render_chat(chat(json), {.thinking_mode = std::move(mode)}).value().inside_reasoning;
  };
  EXPECT_TRUE(inside(R"([{"role": "user"}])", "thinking"));
  EXPECT_FALSE(inside(R"([{"role": "user"}])", "chat"));
  EXPECT_FALSE(inside(R"([{"role": "user", "task": "action"}])", "thinking"));
  EXPECT_FALSE(inside(R"([{"role": "user"}, {"role": "assistant", "content": "a", "wo_eos": true}])", "thinking"));
}

TEST(ChatRender, RevisionIsReadFromTheEncodingCode) {
  const testing_support::TempDirectory directory;
  EXPECT_EQ(detect_chat_revision(directory.path()), ChatRevision::k0731);
  std::filesystem::create_directory(directory.path() / "encoding");
  const auto write = [&](std::string_view code) {
    std::ofstream(directory.path() / "encoding" / "encoding_dsv4.py") << code;
  };
  write("def encode_messages():\n    pass\n");
  EXPECT_EQ(detect_chat_revision(directory.path()), ChatRevision::k2604);
  write("REASONING_EFFORT_PROMPTS = {}\n");
  EXPECT_EQ(detect_chat_revision(directory.path()), ChatRevision::k0731);
}

TEST(ChatJson, MessagesSurviveTheWayThroughJson) {
  constexpr std::string_view kChat =
      R"([{"role": "system", "content": "S", "tools": [{"function": {"name": "f"}}], "response_format": {"a": 1.0}}, )"
      R"({"role": "user", "content": [{"type": "text", "text": "x"}], "task": "query"}, )"
      R"({"role": "assistant", "content": "c", "reasoning_content": "r", "tool_calls": [{"id": "i", "type": "function", )"
      R"("function": {"name": "f", "arguments": "{}"}}, {"type": "function", "function": {"name": "g", )"
      R"("arguments": {"x": 1}, "id": "j"}}], "wo_eos": true}, {"role": "tool", "content": "", "tool_call_id": "i"}])";
  EXPECT_EQ(to_json(messages_to_json(chat(kChat))), kChat);
}

TEST(ChatJson, WrongTypesAreNamed) {
  const auto message = [](std::string_view json) {
    return messages_from_json(*parse_json(json), "messages").error().message;
  };
  EXPECT_EQ(message("{}"), "messages: expected a list of messages, got an object");
  EXPECT_EQ(message("[1]"), "messages[0]: expected an object, got a number");
  EXPECT_EQ(message(R"([{"role": "user", "content": 3}])"),
            "messages[0].content: expected a string or a list of parts, got a number");
  EXPECT_EQ(message(R"([{"role": "user", "wo_eos": 1}])"), "messages[0].wo_eos: expected a boolean, got a number");
  EXPECT_EQ(message(R"([{"role": "user"}, {"tool_calls": [{"function": {"name": "f"}}]}])"),
            "messages[1].tool_calls[0].function: 'arguments' is missing");
}

}  // namespace
}  // namespace hadal::text
