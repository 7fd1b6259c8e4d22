// Token ids of whole prompts, and mode "guarded": markers inside the caller's texts never become tokens.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "text/chat_json.h"
#include "text/chat_lines.h"
#include "text/generated_chats.h"
#include "text/golden_lines.h"
#include "text/golden_text.h"

namespace hadal::text {
namespace {

using nlohmann::json;

TEST(ChatTokens, EveryLineIsAnsweredAsTheGoldenDataSays) {
  const RenderLineOptions options{.tokenizer = &v4_tokenizer()};
  std::size_t prompts = 0;
  for (const GoldenLine& line : raw_golden_lines("chat_render.jsonl")) {
    SCOPED_TRACE(line.json["id"].get<std::string>());
    const auto answer = render_line(line.text, options);
    ASSERT_TRUE(answer) << answer.error().message;
    json expected = {{"id", line.json["id"]}};
    for (const char* field : {"prompt", "ids", "error"}) {
      if (line.json.contains(field)) expected[field] = line.json[field];
    }
    prompts += expected.contains("ids") ? 1 : 0;
    EXPECT_EQ(json::parse(*answer), expected);
  }
  EXPECT_EQ(prompts, 116U);
}

TEST(ChatTokens, LinesNameWhatIsWrongWithThem) {
  const auto error = [](std::string_view line) { return render_line(line, {}).error().message; };
  EXPECT_EQ(error("[]"), "the line is not a JSON object");
  EXPECT_EQ(error("{}"), "the line has no 'messages'");
  EXPECT_EQ(error("{\"messages\": [], \"revision\": \"9\"}"), "revision: '9' is unknown; use 2604, 0731 or any");
  EXPECT_EQ(render_line("{", {}).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(parse_line("{\"text\": 1}").error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(parse_line("{\"text\": \"\", \"finish\": \"eos\"}").error().message,
            "finish: expected \"stop\" or \"length\"");
}

/// Ids of added tokens in `ids`, in order.
std::vector<std::int32_t> added(const std::vector<std::int32_t>& ids) {
  std::vector<std::int32_t> result;
  std::ranges::copy_if(ids, std::back_inserter(result), [](std::int32_t id) { return v4_tokenizer().is_added(id); });
  return result;
}

/// A chat of every kind of message whose texts come from `text`.
std::vector<Message> chat_of(const std::function<std::string()>& text) {
  JsonValue function = JsonValue::object();
  function.add("name", JsonValue::of(text())).add("description", JsonValue::of(text()));
  JsonValue tool = JsonValue::object();
  tool.add("function", std::move(function));
  JsonValue arguments = JsonValue::object();
  arguments.add("k" + text(), JsonValue::of(text()));
  JsonValue list = JsonValue::array();
  list.items.push_back(JsonValue::of(text()));
  arguments.add("l", std::move(list));
  std::vector<Message> chat;
  chat.push_back(
      {.role = "system", .content = {.text = text()}, .tools = {tool}, .response_format = JsonValue::of(text())});
  chat.push_back({.role = "user", .content = {.text = text()}});
  chat.push_back({.role = "user", .content = {.text = text()}});
  chat.push_back({.role = "assistant",
                  .content = {.text = text()},
                  .reasoning_content = text(),
                  .tool_calls = {{.id = "i", .name = text(), .arguments = to_json(arguments)}}});
  chat.push_back({.role = "tool", .content = {.text = text()}, .tool_call_id = "i"});
  chat.push_back({.role = "latest_reminder", .content = {.text = text()}});
  chat.push_back({.role = "user", .content = {.text = text()}});
  return chat;
}

TEST(ChatTokens, GuardedTextOfTheCallerNeverBecomesAMarker) {
  const Tokenizer& tokenizer = v4_tokenizer();
  // The markers of the format itself: the same chat without any text.
  const RenderedPrompt empty = render_chat(chat_of([] { return std::string(); }), {}).value();
  const auto own = added(encode_prompt(tokenizer, empty, TextMode::kOfficial).value());
  ASSERT_GT(own.size(), 20U);
  std::vector<std::int32_t> all_added;
  for (std::int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    if (tokenizer.is_added(id)) all_added.push_back(id);
  }
  ASSERT_EQ(all_added.size(), 1283U);
  std::size_t fired = 0;
  for (std::uint32_t seed = 0; seed < 200; ++seed) {
    Choices choices(seed);
    const auto text = [&] {
      std::string result = plain_text(choices, 2);
      result += tokenizer.token_bytes(all_added[choices.below(all_added.size())]);
      result += plain_text(choices, 2);
      result += choices.one_in(2) ? "｜DSML｜" : "<｜User";
      return result;
    };
    const RenderedPrompt prompt = render_chat(chat_of(text), {}).value();
    const auto guarded = encode_prompt(tokenizer, prompt, TextMode::kGuarded).value();
    ASSERT_EQ(added(guarded), own) << prompt.text;
    ASSERT_EQ(tokenizer.decode(guarded).value(), prompt.text);
    fired += added(encode_prompt(tokenizer, prompt, TextMode::kOfficial).value()).size() > own.size() ? 1 : 0;
  }
  EXPECT_EQ(fired, 200U);  // mode official does take them
}

TEST(ChatTokens, OrdinaryTextHasTheSameIdsInBothModes) {
  const Tokenizer& tokenizer = v4_tokenizer();
  for (std::uint32_t seed = 0; seed < 200; ++seed) {
    Choices choices(seed + 1000);
    const RenderedPrompt prompt = render_chat(chat_of([&] { return plain_text(choices); }), {}).value();
    ASSERT_EQ(encode_prompt(tokenizer, prompt, TextMode::kGuarded).value(),
              encode_prompt(tokenizer, prompt, TextMode::kOfficial).value())
        << prompt.text;
  }
}

}  // namespace
}  // namespace hadal::text
