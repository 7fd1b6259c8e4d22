#include <gtest/gtest.h>

#include <limits>
#include <optional>
#include <set>

#include "api/chat_answer.h"
#include "api/chat_choice.h"
#include "api/outputs.h"

namespace hadal::api {
namespace {

constexpr Family kD = Family::kDeepSeek;
constexpr Family kO = Family::kOpenAi;

constexpr std::string_view kHead =
    R"(data: {"id":"id","object":"chat.completion.chunk","created":7,"model":"m","system_fingerprint":"fp","choices":[)";

std::string chunk(std::string_view choice, std::string_view tail = "") {
  return std::string(kHead) + std::string(choice) + "]" + std::string(tail) + "}\n\n";
}

TEST(ApiIds, Check52_121_FormsOfIds) {
  const RandomBits random = counter();
  const std::string uuid = chat_id(kD, random);
  ASSERT_EQ(uuid.size(), 36U);
  EXPECT_EQ(uuid[14], '4');
  EXPECT_NE(std::string_view("89ab").find(uuid[19]), std::string_view::npos);
  EXPECT_EQ(std::string({uuid[8], uuid[13], uuid[18], uuid[23]}), "----");
  EXPECT_TRUE(chat_id(kO, random).starts_with("chatcmpl-"));
  EXPECT_EQ(chat_id(kO, random).size(), 41U);
  EXPECT_EQ(completion_id(kO, random).size(), 37U);
  EXPECT_TRUE(call_id(kD, 3, random).starts_with("call_03_"));
  EXPECT_EQ(call_id(kD, 3, random).size(), 32U);
  EXPECT_EQ(call_id(kO, 3, random).size(), 29U);
  EXPECT_EQ(fingerprint("a").size(), 13U);
  EXPECT_NE(fingerprint("a"), fingerprint("b"));
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(call_id(kO, 0, random));
  EXPECT_EQ(seen.size(), 1000U);
}

TEST(ApiAnswer, FinishReasonsOfBothFamilies) {
  EXPECT_EQ(finish_reason(kD, Ending::kEos, true), "tool_calls");
  EXPECT_EQ(finish_reason(kD, Ending::kEos, false), "stop");
  EXPECT_EQ(finish_reason(kD, Ending::kMaxTokens, true), "length");
  EXPECT_EQ(finish_reason(kO, Ending::kContextFull, false), "length");
  EXPECT_EQ(finish_reason(kD, Ending::kNoResources, false), "insufficient_system_resource");
  EXPECT_EQ(finish_reason(kO, Ending::kNoResources, false), std::nullopt);
  EXPECT_EQ(finish_reason(kD, Ending::kAborted, false), "aborted");
  EXPECT_EQ(finish_reason(kO, Ending::kAborted, false), "stop");
}

TEST(ApiAnswer, Check53_55_WholeAnswerToTheByte) {
  ChatBody thinking(form(kD, true));
  const RandomBits random = counter();
  ChatChoice choice(kD, {}, random);
  thinking.add(0, say(choice, "think"));
  thinking.add(0, say(choice, "</think>"));
  thinking.add(0, say(choice, "2"));
  thinking.add(0, choice.finish(Ending::kEos));
  thinking.finish(0, *choice.reason());
  EXPECT_EQ(choice.reasoning_tokens(), 2);
  EXPECT_EQ(thinking.text({.prompt = 300, .cached = 200, .completion = 4, .reasoning = 2, .thinking = true}),
            R"({"id":"id","object":"chat.completion","created":7,"model":"m","choices":[{"index":0,)"
            R"("finish_reason":"stop","logprobs":null,"message":{"role":"assistant","content":"2",)"
            R"("reasoning_content":"think"}}],"usage":{"prompt_tokens":300,"completion_tokens":4,"total_tokens":304,)"
            R"("prompt_tokens_details":{"cached_tokens":128},"completion_tokens_details":{"reasoning_tokens":2},)"
            R"("prompt_cache_hit_tokens":128,"prompt_cache_miss_tokens":172},"system_fingerprint":"fp"})");
  ChatBody plain(form(kO, false));
  plain.finish(0, "stop");
  EXPECT_EQ(plain.text({.prompt = 1, .completion = 1}),
            R"({"id":"id","object":"chat.completion","created":7,"model":"m","choices":[{"index":0,)"
            R"("finish_reason":"stop","logprobs":null,"message":{"role":"assistant","content":"","refusal":null,)"
            R"("annotations":[]}}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2,)"
            R"("prompt_tokens_details":{"cached_tokens":0},"prompt_cache_hit_tokens":0,)"
            R"("prompt_cache_miss_tokens":1},"system_fingerprint":"fp"})");
}

constexpr std::string_view kUsage =
    R"({"prompt_tokens":1,"completion_tokens":1,"total_tokens":2,"prompt_tokens_details":{"cached_tokens":0},)"
    R"("prompt_cache_hit_tokens":0,"prompt_cache_miss_tokens":1})";

TEST(ApiStream, Check92To98_ChunksToTheByte) {
  const RandomBits random = counter();
  ChatChoice choice(kD, {.tools = true}, random);
  ChatStream stream(form(kD, true));
  std::string out;
  stream.begin(0, out);
  stream.add(0, say(choice, "用户"), out);
  stream.add(0, say(choice, "</think>"), out);
  stream.add(0, say(choice, "Hi"), out);
  stream.add(0, say(choice, "\n\n<"), out);
  stream.add(0, say(choice, "｜DSML｜"), out);
  stream.add(0, say(choice, "tool_calls>\n<｜DSML｜invoke name=\"f\">\n</｜DSML｜invoke>"), out);
  stream.add(0, choice.finish(Ending::kEos), out);
  stream.finish(0, *choice.reason(), {.prompt = 1, .completion = 1}, out);
  const auto delta = [](std::string_view json, std::string_view reason = "null") {
    return R"({"index":0,"delta":)" + std::string(json) + R"(,"logprobs":null,"finish_reason":)" + std::string(reason) +
           "}";
  };
  const std::string id = call_id(kD, 0, counter());
  EXPECT_EQ(out, chunk(delta(R"({"role":"assistant","content":null,"reasoning_content":""})")) +
                     chunk(delta(R"({"content":null,"reasoning_content":"用户"})")) +
                     chunk(delta(R"({"content":"Hi","reasoning_content":null})")) +
                     chunk(delta(R"({"tool_calls":[{"index":0,"id":")" + id +
                                 R"(","type":"function","function":{"name":"f","arguments":""}}]})")) +
                     chunk(delta(R"({"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]})")) +
                     chunk(delta(R"({"content":"","reasoning_content":null})", R"("tool_calls")"),
                           R"(,"usage":)" + std::string(kUsage)) +
                     "data: [DONE]\n\n");
}

TEST(ApiStream, Check96To98_UsageStandsWhereEachFamilyExpectsIt) {
  const auto streamed = [](Family family, bool include_usage) {
    ChatForm shape = form(family, false);
    shape.include_usage = include_usage;
    shape.choices = 2;
    ChatStream stream(shape);
    std::string out;
    stream.begin(0, out);
    stream.finish(1, "length", {.prompt = 1, .completion = 1}, out);
    stream.finish(0, "stop", {.prompt = 1, .completion = 1}, out);
    return out;
  };
  const std::string first =
      R"({"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null})";
  const std::string one = R"({"index":1,"delta":{"content":""},"logprobs":null,"finish_reason":"length"})";
  const std::string zero = R"({"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":"stop"})";
  const std::string null = R"(,"usage":null)";
  const std::string usage = R"(,"usage":)" + std::string(kUsage);
  const std::string done = "data: [DONE]\n\n";
  EXPECT_EQ(streamed(kD, true), chunk(first, null) + chunk(one, null) + chunk(zero, usage) + done);
  EXPECT_EQ(streamed(kD, false), chunk(first) + chunk(one) + chunk(zero, usage) + done);
  EXPECT_EQ(streamed(kO, false), chunk(first) + chunk(one) + chunk(zero, usage) + done);
  EXPECT_EQ(streamed(kO, true), chunk(first, null) + chunk(one, null) + chunk(zero, null) + chunk("", usage) + done);
}

TEST(ApiStream, ProgressIsAChunkWithAnEmptyDelta) {
  std::string out;
  ChatStream(form(kO, false)).progress(0, {.total = 9, .cached = 1, .processed = 4, .milliseconds = 12}, out);
  EXPECT_EQ(out, chunk(R"({"index":0,"delta":{},"logprobs":null,"finish_reason":null})",
                       R"(,"prompt_progress":{"total":9,"cache":1,"processed":4,"time_ms":12})"));
}

TEST(ApiChoice, Check70To72_StopStringsMatchVisibleAnswerTextOnly) {
  const RandomBits random = counter();
  ChatChoice choice(kD, {.stops = {"STOP"}}, random);
  EXPECT_EQ(visible(say(choice, "a STOP b")), "a STOP b");  // inside the reasoning
  EXPECT_EQ(visible(say(choice, "</think>cST")), "c");
  EXPECT_FALSE(choice.ended());
  EXPECT_EQ(visible(say(choice, "OPd")), "");
  EXPECT_TRUE(choice.ended());
  EXPECT_EQ(visible(say(choice, "e")), "");
  EXPECT_EQ(visible(choice.finish(Ending::kMaxTokens)), "");
  EXPECT_EQ(choice.reason(), "stop");
  ChatChoice shown(kD, {.inside_reasoning = false, .stops = {"X"}, .show_stop = true}, random);
  EXPECT_EQ(visible(say(shown, "aXb")), "aX");
  ChatChoice held(kD, {.inside_reasoning = false, .stops = {"XY"}}, random);
  EXPECT_EQ(visible(say(held, "aX")), "a");
  EXPECT_EQ(visible(held.finish(Ending::kEos)), "X");
}

TEST(ApiChoice, Check124_OneCallEndsTheAnswer) {
  const RandomBits random = counter();
  ChatChoice choice(kO, {.inside_reasoning = false, .tools = true, .one_call = true}, random);
  (void)say(choice,
            "<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n</｜DSML｜invoke>\n<｜DSML｜invoke name=\"g\">");
  EXPECT_TRUE(choice.ended());
  EXPECT_TRUE(choice.finish(Ending::kEos).empty());
  EXPECT_EQ(choice.reason(), "tool_calls");
}

TEST(ApiChoice, Check128_AnUnfinishedCallIsDeliveredAsFarAsItCame) {
  const RandomBits random = counter();
  ChatChoice choice(kO, {.inside_reasoning = false, .tools = true}, random);
  ChatBody body(form(kO, false));
  body.add(0, say(choice,
                  "<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n"
                  "<｜DSML｜parameter name=\"x\" string=\"true\">ab"));
  body.add(0, choice.finish(Ending::kMaxTokens));
  body.finish(0, *choice.reason());
  const std::string text = body.text({});
  EXPECT_NE(text.find(R"("finish_reason":"length")"), std::string::npos);
  EXPECT_NE(text.find(R"("content":null,"tool_calls":)"), std::string::npos);
  EXPECT_NE(text.find(R"("arguments":"{\"x\": \"ab"}}])"), std::string::npos) << text;
}

TEST(ApiChoice, ReasoningGoesWhereTheClientWantsIt) {
  const RandomBits random = counter();
  const auto whole = [&random](ReasoningPlace place, std::string_view text) {
    ChatChoice choice(kO, {.reasoning = place}, random);
    std::string out = visible(say(choice, text));
    return out + visible(choice.finish(Ending::kEos));
  };
  EXPECT_EQ(whole(ReasoningPlace::kContent, "why</think>so"), "<think>why</think>so");
  EXPECT_EQ(whole(ReasoningPlace::kContent, "why"), "<think>why</think>");
  EXPECT_EQ(whole(ReasoningPlace::kNowhere, "why</think>so"), "so");
}

TEST(ApiChoice, Check78_80_81_LogprobsStandWithTheirText) {
  const RandomBits random = counter();
  ChatChoice choice(kD, {.tools = true, .stops = {"ZZ"}, .logprobs = true}, random);
  std::vector<Delta> deltas;
  const auto keep = [&deltas](std::span<const Delta> more) { deltas.insert(deltas.end(), more.begin(), more.end()); };
  keep(choice.push({.text = "why"}, token("why", -0.5)));
  keep(choice.push({.special = "</think>"}, token("</think>", -0.1)));
  keep(choice.push({.text = ""}, token("\xE4\xB8", -1)));
  keep(choice.push({.text = "中"}, token("\xAD", -2)));
  keep(choice.push({.text = "aZ"}, token("aZ", -3)));
  keep(choice.push({.text = "b\n\n"}, token("b\n\n", -4)));
  keep(choice.push({.text = "<"}, token("<", 0)));
  keep(choice.push({.special = "｜DSML｜"}, token("｜DSML｜", 0)));
  keep(choice.push({.text = "tool_calls>\n<"}, token("tool_calls>\n<", 0)));
  keep(choice.push({.special = "｜DSML｜"}, token("｜DSML｜", 0)));
  keep(choice.push({.text = "invoke name=\"f\">"}, token("rest", 0)));
  keep(choice.finish(Ending::kEos));
  ASSERT_EQ(deltas.size(), 6U);
  EXPECT_EQ(deltas[0].kind, DeltaKind::kReasoning);
  EXPECT_EQ(deltas[0].tokens.size(), 1U);
  EXPECT_EQ(deltas[1].text, "中");
  ASSERT_EQ(deltas[1].tokens.size(), 2U);
  EXPECT_EQ(deltas[1].tokens[0].bytes, "\xE4\xB8");
  EXPECT_EQ(deltas[2].text, "aZ");  // held until it was no stop string
  EXPECT_EQ(deltas[2].tokens.size(), 1U);
  EXPECT_EQ(deltas[3].text, "b");  // the newlines separate it from the calls
  EXPECT_EQ(deltas[3].tokens[0].logprob, -4);
  EXPECT_EQ(deltas[4].kind, DeltaKind::kCallBegin);
  EXPECT_TRUE(deltas[4].tokens.empty());
  std::string out;
  TokenLogprob masked = token("\xFF", -std::numeric_limits<double>::infinity());
  masked.top = {{"a", -0.0}};
  append_token(out, masked);
  EXPECT_EQ(
      out,
      R"({"token":"�","logprob":-9999.0,"bytes":[255],"top_logprobs":[{"token":"a","logprob":0.0,"bytes":[97]}]})");
  ChatForm shape = form(kD, true);
  shape.logprobs = true;
  std::string chunks;
  ChatStream(shape).add(0, std::span(deltas).first(1), chunks);
  EXPECT_NE(chunks.find(R"("logprobs":{"content":null,"reasoning_content":[{"token":"why","logprob":-0.5,)"),
            std::string::npos);
}

}  // namespace
}  // namespace hadal::api
