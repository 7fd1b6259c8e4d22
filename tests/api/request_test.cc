#include "api/request.h"

#include <gtest/gtest.h>

#include "api/fields.h"
#include "requests.h"

namespace hadal::api {
namespace {

constexpr Family kD = Family::kDeepSeek;
constexpr Family kO = Family::kOpenAi;

std::string nested_schema(int levels) {  // the schema lies five levels deep in the body
  std::string schema;
  for (int i = 0; i < levels; ++i) schema += R"({"a":)";
  schema += "1" + std::string(static_cast<std::size_t>(levels), '}');
  return chat_body(R"("tools":[{"type":"function","function":{"name":"f","parameters":)" + schema + "}}],");
}

TEST(ApiBody, Check7To12_OnlyOneStrictObjectIsRead) {
  for (const std::string_view body :
       {R"({"model":)", "", "[]", R"({"model":"a","model":"b"})", "{\"model\":\"\xFF\"}", R"({"a":1} x)",
        "\xEF\xBB\xBF{}", R"({"a":NaN})", R"({"a":"\ud800"})", R"("text")"}) {
    EXPECT_TRUE(chat_outcome(kD, body).starts_with("400 the body")) << body;
  }
  EXPECT_EQ(chat_outcome(kD, nested_schema(60)), "read");  // 64 levels
  EXPECT_TRUE(chat_outcome(kD, nested_schema(61)).starts_with("400 the body cannot be read")) << nested_schema(61);
  EXPECT_EQ(read_body("{} ", {.bytes = 2}).error().cause, Cause::kBodyTooLarge);
}

TEST(ApiRequest, Check18_NothingIsCoerced) {
  EXPECT_EQ(chat_outcome(kO, chat_body(R"("temperature":"0.5",)")), "400 temperature: expected number, got string");
  EXPECT_EQ(chat_outcome(kO, chat_body(R"("stream":1,)")), "400 stream: expected boolean, got number");
  EXPECT_EQ(chat_outcome(kO, chat_body(R"("n":1.0,)")), "400 n: expected integer");
  EXPECT_EQ(chat_outcome(kO, chat_body(R"("n":1e0,)")), "400 n: expected integer");
  EXPECT_EQ(chat_outcome(kO, chat_body(R"("top_p":1e999,)")), "400 top_p: expected number from 0 to 1");
  const auto request = chat(kO, chat_body(R"("max_tokens":"x",)"));
  ASSERT_FALSE(request);
  EXPECT_EQ(request.error().param, "max_tokens");
}

TEST(ApiRequest, Check19_20_UnknownFieldsAreListedOrRefused) {
  const auto request = chat(kO, chat_body(R"("foo":1,"a b":2,"store":true,)"));
  ASSERT_TRUE(request);
  EXPECT_EQ(ignored_header(request->ignored), "foo, ?, store");
  RequestSettings strict = settings();
  strict.strict_fields = true;
  EXPECT_EQ(chat_outcome(kO, chat_body(R"("foo":1,)"), strict), "400 foo: unknown field");
  EXPECT_EQ(chat_outcome(kO, chat_body(R"("store":true,)"), strict), "read");
  EXPECT_EQ(ignored_header(std::vector<std::string>(20, "x")), "x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x");
}

TEST(ApiRequest, Check22_NullIsAbsent) {
  const auto request = chat(kD, chat_body(R"("temperature":null,"stop":null,"tools":null,"thinking":null,"n":null,)"
                                          R"("stream_options":null,"response_format":null,"top_logprobs":null,)"));
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_TRUE(request->thinking.on);
  EXPECT_EQ(request->choices, 1);
  EXPECT_TRUE(request->stop.strings.empty());
}

TEST(ApiRequest, Check54To58_ThinkingAndEffort) {
  const auto thinking = [](std::string_view members) {
    const auto request = chat(kD, chat_body(members));
    return request ? std::optional(request->thinking) : std::nullopt;
  };
  EXPECT_TRUE(thinking("")->on);
  EXPECT_EQ(thinking("")->effort, Effort::kHigh);
  EXPECT_FALSE(thinking(R"("thinking":{"type":"disabled"},"reasoning_effort":"max",)")->on);
  EXPECT_FALSE(thinking(R"("reasoning_effort":"none",)")->on);
  EXPECT_TRUE(thinking(R"("thinking":{"type":"enabled"},"reasoning_effort":"none",)")->on);
  EXPECT_FALSE(thinking(R"("chat_template_kwargs":{"enable_thinking":false},"think":true,)")->on);
  EXPECT_TRUE(thinking(R"("chat_template_kwargs":{"thinking":false},"reasoning_effort":"low",)")->on);
  EXPECT_FALSE(thinking(R"("think":false,)")->on);
  EXPECT_EQ(thinking(R"("reasoning_effort":"xhigh",)")->effort, Effort::kHigh);
  EXPECT_EQ(thinking(R"("reasoning_effort":"minimal",)")->effort, Effort::kLow);
  EXPECT_EQ(thinking(R"("reasoning":{"effort":"ultra","max_tokens":77},)")->effort, Effort::kMax);
  EXPECT_EQ(thinking(R"("reasoning":{"effort":"ultra","max_tokens":77},)")->budget, 77);
  EXPECT_EQ(chat_outcome(kD, chat_body(R"("reasoning_effort":"extreme",)")),
            "400 reasoning_effort: expected none, minimal, low, medium, high, xhigh, max or ultra");
  EXPECT_EQ(chat_outcome(kD, chat_body(R"("thinking":{"type":"maybe"},)")),
            "400 thinking.type: expected enabled, disabled or adaptive");
}

TEST(ApiRequest, Check59To63_MaxTokens) {
  const auto most = [](Family family, std::string_view members) {
    return chat(family, chat_body(members))->max_tokens;
  };
  EXPECT_EQ(most(kD, ""), 65'536);
  EXPECT_EQ(most(kD, R"("thinking":{"type":"disabled"},)"), 8'192);
  EXPECT_EQ(most(kD, R"("reasoning_effort":"max",)"), 131'072);
  EXPECT_EQ(most(kD, R"("max_tokens":5,)"), 5);
  EXPECT_EQ(most(kD, R"("max_completion_tokens":7,"max_tokens":5,)"), 7);
  EXPECT_EQ(chat_outcome(kD, chat_body(R"("max_tokens":0,)")), "400 max_tokens: expected integer from 1 to 393216");
  EXPECT_EQ(chat_outcome(kD, chat_body(R"("max_tokens":393217,)")),
            "400 max_tokens: expected integer from 1 to 393216");
  const auto clamped = chat(kO, chat_body(R"("max_tokens":393217,)"));
  EXPECT_EQ(clamped->max_tokens, 393'216);
  EXPECT_TRUE(clamped->max_tokens_clamped);
  EXPECT_EQ(fit_to_context(*clamped, 1'000'000), 48'576);
  EXPECT_EQ(fit_to_context(*clamped, 1'048'576).error().cause, Cause::kPromptTooLong);
}

TEST(ApiRequest, Check67_68_90_RangesHoldUnderBothPolicies) {
  EXPECT_EQ(chat_outcome(kD, chat_body(R"("temperature":2.1,)")),
            "400 Invalid temperature value, the valid range of temperature is [0, 2]");
  EXPECT_EQ(chat_outcome(kO, chat_body(R"("temperature":-0.1,)")), "400 temperature: expected number from 0 to 2");
  EXPECT_EQ(chat_outcome(kD, chat_body(R"("top_p":0,)")), "400 top_p: expected number above 0, at most 1");
  EXPECT_EQ(chat_outcome(kD, chat_body(R"("frequency_penalty":3,)")),
            "400 frequency_penalty: expected number from -2 to 2");
}

TEST(ApiRequest, Check69_OfficialPolicyDropsAndListsWhatTheServiceIgnores) {
  const std::string body = chat_body(R"("temperature":0,"top_p":0.5,"presence_penalty":1,)");
  const auto official = chat(kD, body);
  EXPECT_EQ(official->sampling.temperature, 1);
  EXPECT_EQ(official->sampling.top_p, 0.95);
  EXPECT_EQ(official->sampling.presence_penalty, 0);
  EXPECT_EQ(ignored_header(official->ignored), "temperature, top_p, presence_penalty");
  const auto client = chat(kO, body);
  EXPECT_EQ(client->sampling.temperature, 0);
  EXPECT_EQ(client->sampling.top_p, 0.5);
  EXPECT_EQ(client->sampling.presence_penalty, 1);
  EXPECT_TRUE(client->ignored.empty());
  const auto plain = chat(kD, chat_body(R"("thinking":{"type":"disabled"},"temperature":0.3,"top_p":0.5,)"));
  EXPECT_EQ(plain->sampling.temperature, 0.3);
  EXPECT_EQ(plain->sampling.top_p, 1);
  RequestSettings ours = settings();
  ours.policy = SamplingPolicy::kClient;
  EXPECT_EQ(chat(kD, body, ours)->sampling.temperature, 0);
}

TEST(ApiRequest, Check73_Stops) {
  std::string stops;
  for (int i = 0; i < 16; ++i) stops += "\"s" + std::to_string(i) + "\",";
  stops.pop_back();
  EXPECT_EQ(chat(kD, chat_body("\"stop\":[" + stops + "],"))->stop.strings.size(), 16U);
  EXPECT_EQ(chat(kD, chat_body(R"("stop":"X",)"))->stop.strings, std::vector<std::string>{"X"});
  EXPECT_EQ(chat_outcome(kD, chat_body("\"stop\":[" + stops + ",\"t\"],")), "400 stop: expected at most 16 strings");
  EXPECT_EQ(chat_outcome(kD, chat_body(R"("stop":["a",""],)")), "400 stop[1]: expected string of 1 to 256 bytes");
  EXPECT_EQ(chat_outcome(kD, chat_body(R"("stop":3,)")), "400 stop: expected string or array of strings");
}

TEST(ApiRequest, Check75_77_79_ChoicesBiasesLogprobs) {
  EXPECT_EQ(chat_outcome(kD, chat_body(R"("n":17,)")), "400 n: expected integer from 1 to 16");
  EXPECT_EQ(chat_outcome(kD, chat_body(R"("logit_bias":{"129280":1},)")),
            "400 logit_bias.129280: expected a token id below 129280");
  EXPECT_EQ(chat_outcome(kD, chat_body(R"("logit_bias":{"5":101},)")),
            "400 logit_bias.5: expected number from -100 to 100");
  EXPECT_EQ(chat_outcome(kD, chat_body(R"("logit_bias":{"5":1,"05":2},)")), "400 logit_bias: a token stands twice");
  const auto biased = chat(kD, chat_body(R"("logit_bias":{"9":-100,"5":0.5},)"));
  EXPECT_EQ(biased->sampling.logit_bias, (std::vector<std::pair<std::int32_t, double>>{{5, 0.5}, {9, -100}}));
  EXPECT_EQ(chat_outcome(kD, chat_body(R"("top_logprobs":2,)")),
            "400 top_logprobs: only allowed when logprobs is true");
  EXPECT_EQ(chat_outcome(kD, chat_body(R"("logprobs":true,"top_logprobs":21,)")),
            "400 top_logprobs: expected integer from 0 to 20");
  EXPECT_EQ(chat(kD, chat_body(R"("logprobs":true,"top_logprobs":5,)"))->logprobs.top, 5);
}

TEST(ApiRequest, Check82To88_Messages) {
  const auto parts = chat(kD, messages_body(R"({"role":"user","content":[{"type":"text","text":"a"},)"
                                            R"({"type":"text","text":"b"}]})"));
  EXPECT_EQ(parts->messages[0].content.text, "ab");
  EXPECT_EQ(chat_outcome(kD, messages_body(R"({"role":"user","content":[{"type":"image_url"}]})")),
            "400 messages[0].content[0].type: this model reads text only");
  const std::string developer = messages_body(R"({"role":"developer","content":"x"},{"role":"user","content":"y"})");
  EXPECT_EQ(chat(kO, developer)->messages[0].role, "system");
  EXPECT_EQ(chat_outcome(kD, developer),
            "400 messages[0].role: 'developer' is no role; expected system, user, assistant or tool");
  EXPECT_EQ(chat_outcome(kD, messages_body("")), "400 messages: expected array of 1 to 100000 messages");
  EXPECT_EQ(chat_outcome(kD, messages_body(R"({"role":"user","content":"a"},{"role":"system","content":"b"})")),
            "read");
  EXPECT_EQ(chat_outcome(kD, messages_body(R"({"role":"user","content":null})")),
            "400 messages[0].content: expected string or array");
  EXPECT_EQ(chat_outcome(kD, messages_body(R"({"role":"user","content":"a"},{"role":"user","content":7})")),
            "400 messages[1].content: expected string or array");
  EXPECT_EQ(chat_outcome(kD, messages_body(R"({"role":"assistant","content":"a","reasoning_content":""})")), "read");
  EXPECT_EQ(chat_outcome(kD, messages_body(R"({"role":"assistant","content":null})")),
            "400 messages[0].content: expected string or array");
}

TEST(ApiRequest, Check99_StreamOptionsNeedAStreamInDeepSeekOnly) {
  const std::string body = chat_body(R"("stream_options":{"include_usage":true},)");
  EXPECT_EQ(chat_outcome(kD, body), "400 stream_options: only allowed when stream is true");
  EXPECT_FALSE(chat(kO, body)->stream.include_usage);
  EXPECT_TRUE(chat(kD, chat_body(R"("stream":true,"stream_options":{"include_usage":true},)"))->stream.include_usage);
}

constexpr std::string_view kTools =
    R"("tools":[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"g"}}],)";

TEST(ApiRequest, Check111To115_Tools) {
  const auto tools = [](Family family, std::string_view members) {
    return chat(family, chat_body(std::string(kTools) + std::string(members)))->tools;
  };
  EXPECT_EQ(tools(kD, "").mode, ToolMode::kAuto);
  EXPECT_EQ(text::to_json(tools(kD, "").list[0]),
            R"({"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}})");
  EXPECT_EQ(tools(kD, R"("tool_choice":"required",)").mode, ToolMode::kRequired);
  EXPECT_EQ(tools(kD, R"("tool_choice":{"type":"function","function":{"name":"g"}},)").allowed,
            std::vector<std::string>{"g"});
  EXPECT_TRUE(tools(kD, R"("tool_choice":"none",)").list.empty());
  EXPECT_FALSE(tools(kO, R"("parallel_tool_calls":false,)").parallel);
  const Tools allowed =
      tools(kO, R"("tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"function","name":"f"}]},)");
  EXPECT_EQ(allowed.list.size(), 2U);
  EXPECT_EQ(allowed.allowed, std::vector<std::string>{"f"});
  EXPECT_EQ(chat_outcome(
                kD, chat_body(std::string(kTools) + R"("tool_choice":{"type":"function","function":{"name":"h"}},)")),
            "400 tool_choice.function.name: no tool of the request has this name");
  std::string many;
  for (int i = 0; i < 129; ++i) many += R"({"type":"function","function":{"name":"t)" + std::to_string(i) + "\"}},";
  many.pop_back();
  EXPECT_EQ(chat_outcome(kD, chat_body("\"tools\":[" + many + "],")), "400 tools: expected at most 128 tools");
  EXPECT_EQ(chat_outcome(kD, chat_body(R"("tools":[{"function":{"name":"a b"}}],)")),
            "400 tools[0].function.name: expected 1 to 128 of the characters A-Z a-z 0-9 _ -");
  EXPECT_EQ(chat_outcome(kD, chat_body(R"("tools":[{"function":{"name":"a"}},{"function":{"name":"a"}}],)")),
            "400 tools[1].function.name: another tool has this name");
  EXPECT_EQ(chat(kD, chat_body(R"("tools":[],)"))->tools.mode, ToolMode::kNone);
}

TEST(ApiRequest, Check126_StrictIsForAllToolsOrNoneInDeepSeek) {
  const std::string mixed =
      chat_body(R"("tools":[{"function":{"name":"a","strict":true}},{"function":{"name":"b"}}],)");
  EXPECT_EQ(chat_outcome(kD, mixed), "400 tools: strict must be true for every function or for none");
  EXPECT_EQ(chat(kO, mixed)->tools.strict, (std::vector<bool>{true, false}));
}

constexpr std::string_view kCalls = R"({"role":"user","content":"q"},{"role":"assistant","content":null,"tool_calls":[)"
                                    R"({"id":"a","type":"function","function":{"name":"f","arguments":"{}"}},)"
                                    R"({"id":"b","function":{"name":"f","arguments":"no json"}}]},)";

TEST(ApiRequest, Check122_ResultsAnswerCalls) {
  const std::string calls(kCalls);
  const std::string both = R"({"role":"tool","tool_call_id":"b","content":"2"},)"
                           R"({"role":"tool","tool_call_id":"a","content":"1"})";
  const auto request = chat(kO, messages_body(calls + both));
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->messages[1].tool_calls[0].arguments, "{}");
  EXPECT_EQ(request->messages[1].tool_calls[1].arguments_value->text, "no json");
  EXPECT_EQ(chat_outcome(kD, messages_body(calls + R"({"role":"tool","tool_call_id":"c","content":"1"})")),
            "400 messages[2].tool_call_id: no call of the nearest earlier message with tool_calls has this id");
  const std::string one = calls + R"({"role":"tool","tool_call_id":"a","content":"1"},{"role":"user","content":"x"})";
  EXPECT_EQ(chat_outcome(kO, messages_body(one)), "400 messages[3]: these tool calls have no result before it: b");
  EXPECT_EQ(chat_outcome(kD, messages_body(one)), "read");
}

TEST(ApiRequest, Check134_MissingReasoning) {
  const std::string body =
      messages_body(std::string(kCalls) + R"({"role":"tool","tool_call_id":"a","content":"1"})", kTools);
  RequestSettings strict = settings();
  strict.strict_reasoning = true;
  EXPECT_EQ(chat_outcome(kD, body, strict),
            "400 The reasoning_content in the thinking mode must be passed back to the API.");
  EXPECT_EQ(chat(kD, body)->reasoning_missing, 1);
}

TEST(ApiRequest, Check135_145_Constraints) {
  EXPECT_EQ(chat_outcome(kD, chat_body(R"("response_format":{"type":"json_object"},)")),
            "400 Prompt must contain the word 'json' in some form to use 'response_format' of type 'json_object'.");
  const std::string asks =
      messages_body(R"({"role":"user","content":"as JSON"})", R"("response_format":{"type":"json_object"},)");
  EXPECT_EQ(chat(kD, asks)->constraint, Constraint::kJsonObject);
  RequestSettings unchecked = settings();
  unchecked.json_word_check = false;
  EXPECT_EQ(chat_outcome(kD, chat_body(R"("response_format":{"type":"json_object"},)"), unchecked), "read");
  EXPECT_EQ(chat_outcome(kO, chat_body(R"("response_format":{"type":"json_schema","json_schema":{}},)")),
            "400 response_format.type: this server cannot constrain answers to a schema; use json_object or text");
  EXPECT_EQ(chat_outcome(kO, chat_body(R"("guided_json":{},)")),
            "400 guided_json: this server cannot constrain answers this way; leave it out");
}

TEST(ApiRequest, Check148_OnlyALastMessageIsAPrefix) {
  const std::string user = R"({"role":"user","content":"q"})";
  const std::string prefix = R"({"role":"assistant","content":"So","prefix":true})";
  EXPECT_TRUE(chat(kD, messages_body(user + "," + prefix))->continues);
  EXPECT_EQ(chat_outcome(kD, messages_body(user + "," + prefix + "," + user)),
            "400 messages[1].prefix: only the last message can be a prefix");
  EXPECT_TRUE(chat(kO, messages_body(user + R"(,{"role":"assistant","content":"So"})",
                                     R"("continue_final_message":true,"add_generation_prompt":false,)"))
                  ->continues);
  EXPECT_EQ(chat_outcome(kO, messages_body(user, R"("continue_final_message":true,)")),
            "400 continue_final_message: the last message is not the assistant's");
}

TEST(ApiRequest, IdentityAndOldFieldsAreChecked) {
  EXPECT_TRUE(chat_outcome(kD, chat_body("\"user_id\":\"" + std::string(513, 'u') + "\","))
                  .starts_with("400 Invalid 'user_id': string too long"));
  EXPECT_EQ(chat(kO, chat_body(R"("user":"u","user_id":"v",)"))->user, "v");
  EXPECT_EQ(chat_outcome(kO, chat_body(R"("functions":[],)")),
            "400 functions: no longer supported; use tools and tool_choice");
  EXPECT_EQ(chat(kO, chat_body(R"("service_tier":"flex","priority":3,)"))->priority, 13);
  EXPECT_EQ(chat(kO, chat_body(R"("include_reasoning":false,)"))->reasoning, ReasoningPlace::kNowhere);
}

TEST(ApiCompletion, Check150To153_PromptsSuffixEcho) {
  const auto body = [](std::string_view members) {
    return "{" + std::string(members) + R"(,"model":"deepseek-v4-pro"})";
  };
  const auto said = [&body](Family family, std::string_view members) {
    return outcome(family, completion(family, body(members)));
  };
  EXPECT_EQ(said(kD, R"("prompt":"a","suffix":"b","echo":true)"), "400 echo: not allowed together with suffix");
  EXPECT_EQ(said(kD, R"("prompt":["a","b"],"suffix":"")"), "400 suffix: only allowed with one prompt that is a string");
  EXPECT_EQ(said(kD, R"("prompt":[1,129280])"), "400 prompt: expected token ids below 129280");
  EXPECT_EQ(said(kD, R"("prompt":[])"), "400 prompt: expected string, array of strings or array of token ids");
  EXPECT_EQ(said(kD, R"("prompt":"a","max_tokens":4097)"), "400 max_tokens: expected integer from 1 to 4096");
  EXPECT_EQ(said(kD, R"("prompt":"a","best_of":2)"), "400 best_of: must be equal to n");
  EXPECT_EQ(completion(kD, body(R"("prompt":"a")"))->max_tokens, 4096);
  EXPECT_EQ(completion(kO, body(R"("prompt":"a")"))->max_tokens, 16);
  EXPECT_EQ(completion(kO, body(R"("prompt":"a","max_tokens":0,"echo":true,"logprobs":3)"))->logprobs.top, 3);
  const auto many = completion(kO, body(R"("prompt":[[1,2],[3]],"thinking":{"type":"enabled"})"));
  ASSERT_TRUE(many);
  EXPECT_EQ(many->prompts[0].ids, (std::vector<std::int32_t>{1, 2}));
  EXPECT_EQ(many->prompts.size(), 2U);
  EXPECT_EQ(ignored_header(many->ignored), "thinking");
}

}  // namespace
}  // namespace hadal::api
