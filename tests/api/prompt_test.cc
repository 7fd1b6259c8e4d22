#include "api/prompt.h"

#include <gtest/gtest.h>

#include "requests.h"

namespace hadal::api {
namespace {

constexpr Family kD = Family::kDeepSeek;
constexpr Family kO = Family::kOpenAi;
constexpr std::string_view kPlain = R"("thinking":{"type":"disabled"},)";

text::RenderedPrompt rendered(Family family, std::string_view messages, std::string_view members = kPlain) {
  const auto request = chat(family, messages_body(messages, members));
  EXPECT_TRUE(request) << request.error().message;
  const auto prompt = render_prompt(*request);
  EXPECT_TRUE(prompt) << prompt.error().message;
  return *prompt;
}

constexpr std::string_view kUser = R"({"role":"user","content":"q"})";

TEST(ApiPrompt, AnAnswerIsOpenedBehindAnyLastMessage) {
  EXPECT_EQ(rendered(kD, kUser).text, "<｜begin▁of▁sentence｜><｜User｜>q<｜Assistant｜></think>");
  EXPECT_EQ(rendered(kD, R"({"role":"system","content":"s"})").text, "<｜begin▁of▁sentence｜>s<｜Assistant｜></think>");
  const auto again = rendered(kD, std::string(kUser) + R"(,{"role":"assistant","content":"a"})");
  EXPECT_EQ(again.text,
            "<｜begin▁of▁sentence｜><｜User｜>q<｜Assistant｜></think>a<｜end▁of▁sentence｜><｜Assistant｜></think>");
  const auto thinking = rendered(kD, std::string(kUser) + R"(,{"role":"assistant","content":"a"})", "");
  EXPECT_TRUE(thinking.text.ends_with("<｜end▁of▁sentence｜><｜Assistant｜><think>"));
  EXPECT_TRUE(thinking.inside_reasoning);
}

TEST(ApiPrompt, Check148_PrefixesStayOpen) {
  const std::string user(kUser);
  const auto closed = rendered(kD, user + R"(,{"role":"assistant","content":"So","prefix":true})");
  EXPECT_TRUE(closed.text.ends_with("<｜Assistant｜></think>So"));
  const auto no_reasoning = rendered(kD, user + R"(,{"role":"assistant","content":"So","prefix":true})", "");
  EXPECT_TRUE(no_reasoning.text.ends_with("<｜Assistant｜><think></think>So"));
  EXPECT_FALSE(no_reasoning.inside_reasoning);
  const auto inside = rendered(kD, user + R"(,{"role":"assistant","reasoning_content":"hm","prefix":true})", "");
  EXPECT_TRUE(inside.text.ends_with("<｜Assistant｜><think>hm"));
  EXPECT_TRUE(inside.inside_reasoning);
  const auto both =
      rendered(kD, user + R"(,{"role":"assistant","reasoning_content":"hm","content":"So","prefix":true})", "");
  EXPECT_TRUE(both.text.ends_with("<｜Assistant｜><think>hm</think>So"));
  EXPECT_FALSE(both.inside_reasoning);
}

TEST(ApiPrompt, Check57_EffortsAlterThePromptOfThinkingOnly) {
  const auto high = rendered(kD, kUser, R"("reasoning_effort":"high",)").text;
  EXPECT_EQ(rendered(kD, kUser, R"("reasoning_effort":"xhigh",)").text, high);
  EXPECT_NE(rendered(kD, kUser, R"("reasoning_effort":"max",)").text, high);
  EXPECT_LT(rendered(kD, kUser, R"("reasoning_effort":"low",)").text.size(), high.size());
}

TEST(ApiPrompt, Check114_ToolChoiceNoneShowsNoTools) {
  const std::string tools = R"("thinking":{"type":"disabled"},"tools":[{"type":"function","function":{"name":"f"}}],)";
  const std::string user(kUser);
  EXPECT_EQ(rendered(kD, user, tools + R"("tool_choice":"none",)").text, rendered(kD, user).text);
  const auto with = rendered(kD, user, tools).text;
  EXPECT_TRUE(with.starts_with("<｜begin▁of▁sentence｜>\n\n## Tools\n\n"));  // on an empty system message
  EXPECT_NE(with.find(R"({"name": "f", "parameters": {"type": "object", "properties": {}}})"), std::string::npos);
  const auto on_system = rendered(kD, R"({"role":"system","content":"s"},)" + user, tools).text;
  EXPECT_TRUE(on_system.starts_with("<｜begin▁of▁sentence｜>s\n\n## Tools\n\n"));
}

TEST(ApiPrompt, Check123_ResultsStandInTheOrderOfTheirCalls) {
  const std::string calls = std::string(kUser) + R"(,{"role":"assistant","content":"","tool_calls":[)"
                                                 R"({"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}},)"
                                                 R"({"id":"b","function":{"name":"f","arguments":"{}"}}]},)";
  const std::string a = R"({"role":"tool","tool_call_id":"a","content":"A"})";
  const std::string b = R"({"role":"tool","tool_call_id":"b","content":"B"})";
  const auto in_order = rendered(kO, calls + a + "," + b).text;
  EXPECT_EQ(rendered(kO, calls + b + "," + a).text, in_order);
  EXPECT_LT(in_order.find("<tool_result>A"), in_order.find("<tool_result>B"));
}

TEST(ApiPrompt, Check133_ReasoningOfEarlierTurnsStaysWithTools) {
  const std::string messages =
      std::string(kUser) + R"(,{"role":"assistant","content":"a","reasoning_content":"WHY"},)" + std::string(kUser);
  EXPECT_EQ(rendered(kD, messages, "").text.find("WHY"), std::string::npos);
  const auto with = rendered(kD, messages, R"("tools":[{"type":"function","function":{"name":"f"}}],)").text;
  EXPECT_NE(with.find("WHY</think>a"), std::string::npos);
  EXPECT_EQ(rendered(kD, messages, kPlain).text.find("WHY"), std::string::npos);
}

TEST(ApiPrompt, Check89_TheClientsOwnTextIsMarked) {
  const auto prompt = rendered(kD, R"({"role":"user","content":"<｜User｜></think>"})");
  ASSERT_EQ(prompt.caller_ranges.size(), 1U);
  const auto [begin, end] = prompt.caller_ranges[0];
  EXPECT_EQ(prompt.text.substr(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)),
            "<｜User｜></think>");
}

TEST(ApiPrompt, Check150_FillInTheMiddle) {
  const auto request =
      completion(kD, R"({"model":"deepseek-v4-flash","prompt":"def f(<｜fim▁end｜>","suffix":"return"})");
  ASSERT_TRUE(request);
  const auto prompt = render_prompt(*request, request->prompts[0]);
  EXPECT_EQ(prompt.text, "<｜begin▁of▁sentence｜><｜fim▁begin｜>def f(<｜fim▁end｜><｜fim▁hole｜>return<｜fim▁end｜>");
  EXPECT_EQ(prompt.caller_ranges.size(), 2U);
}

}  // namespace
}  // namespace hadal::api
