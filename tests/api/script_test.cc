// Answers of scripted token ids, from the id to the bytes that a client receives.
#include <gtest/gtest.h>

#include "api/outputs.h"
#include "api/prompt.h"
#include "api/requests.h"
#include "text/golden_text.h"

namespace hadal::api {
namespace {

using Ids = std::vector<std::int32_t>;

const text::Tokenizer& tokenizer() { return text::v4_tokenizer(); }

/// Ids of a text whose markers are tokens.
Ids ids_of(std::string_view text) { return *tokenizer().encode(text); }

/// The id whose bytes are exactly these.
std::int32_t byte_token(std::string_view bytes) {
  for (std::int32_t id = 0; id < 1000; ++id) {
    if (tokenizer().token_bytes(id) == bytes) return id;
  }
  ADD_FAILURE() << "no such token";
  return 0;
}

struct Answer {
  Assembled streamed, whole;
  std::string events;
  std::int64_t reasoning_tokens = 0;
};

/// The script as the answer to a chat with tools.
Answer answer_of(const Ids& script, bool thinking, Ending ending = Ending::kEos, Family family = Family::kDeepSeek) {
  const std::string members = std::string(thinking ? "" : R"("thinking":{"type":"disabled"},)") +
                              R"("tools":[{"type":"function","function":{"name":"f"}}],)";
  const ChatRequest request = *chat(family, chat_body(members));
  const RandomBits random = counter();
  ChatChoice choice(family, choice_options(request, thinking), random);
  const ChatForm shape =
      chat_form(request, {.family = family, .id = "id", .created = 7, .model = "m", .fingerprint = "fp"});
  ChatStream stream(shape);
  ChatBody body(shape);
  PieceReader pieces(tokenizer());
  Answer out;
  stream.begin(0, out.events);
  const auto add = [&](std::span<const Delta> deltas) {
    stream.add(0, deltas, out.events);
    body.add(0, deltas);
  };
  for (const std::int32_t id : script) add(choice.push(pieces.read(id)));
  add(choice.finish(ending, pieces.finish()));
  stream.finish(0, *choice.reason(), {}, out.events);
  body.finish(0, *choice.reason());
  out.streamed = assemble(out.events);
  out.whole = read_whole(body.text({}));
  out.reasoning_tokens = choice.reasoning_tokens();
  EXPECT_EQ(out.streamed, out.whole);
  return out;
}

/// A block of calls with these invokes.
std::string block(std::string_view invokes) {
  return "\n\n<｜DSML｜tool_calls>\n" + std::string(invokes) + "\n</｜DSML｜tool_calls>";
}

std::string invoke(std::string_view name, std::string_view parameters) {
  return "<｜DSML｜invoke name=\"" + std::string(name) + "\">\n" + std::string(parameters) + "\n</｜DSML｜invoke>";
}

std::string parameter(std::string_view key, std::string_view kind, std::string_view value) {
  return "<｜DSML｜parameter name=\"" + std::string(key) + "\" string=\"" + std::string(kind) + "\">" +
         std::string(value) + "</｜DSML｜parameter>";
}

/// Name and arguments of a call, without its id.
std::string without_id(const std::string& call) { return call.substr(call.find(' ') + 1); }

TEST(ApiScript, Check94_ReasoningThenContentThenCalls) {
  const Ids script = ids_of("why</think>Hi" + block(invoke("f", parameter("x", "true", "v"))));
  const Answer answer = answer_of(script, true);
  EXPECT_EQ(answer.whole.reasoning, "why");
  EXPECT_EQ(answer.whole.content, "Hi");
  ASSERT_EQ(answer.whole.calls.size(), 1U);
  EXPECT_EQ(without_id(answer.whole.calls[0]), R"(f {"x": "v"})");
  EXPECT_EQ(answer.whole.reason, "tool_calls");
  EXPECT_EQ(answer.reasoning_tokens, static_cast<std::int64_t>(ids_of("why").size()) + 1);  // with </think>
  const auto last = [&](std::string_view text) { return answer.events.rfind(text); };
  EXPECT_LT(last(R"("reasoning_content":"why")"), answer.events.find(R"("content":"Hi")"));
  EXPECT_LT(last(R"("content":"Hi")"), answer.events.find(R"("tool_calls")"));
}

TEST(ApiScript, Check101_ACharacterOfSeveralTokensIsOneDelta) {
  const Answer answer =
      answer_of({byte_token("\xF0"), byte_token("\x9F"), byte_token("\x8C"), byte_token("\x99")}, false);
  EXPECT_EQ(answer.whole.content, "🌙");
  EXPECT_NE(answer.events.find(R"("delta":{"content":"🌙"})"), std::string::npos);
}

TEST(ApiScript, Check102_InvalidBytesAtTheEndAreOneReplacementCharacter) {
  Ids script = ids_of("ok");
  script.push_back(byte_token("\xE4"));
  script.push_back(byte_token("\xB8"));
  EXPECT_EQ(answer_of(script, false).whole.content, "ok\xEF\xBF\xBD");
  Ids before_marker = script;  // a special token ends the character, too
  before_marker.push_back(ids_of("</think>")[0]);
  const Answer answer = answer_of(before_marker, true);
  EXPECT_EQ(answer.whole.reasoning, "ok\xEF\xBF\xBD");
  EXPECT_EQ(answer.whole.content, "");
}

TEST(ApiScript, Check116_117_CallsOfOneBlockComeOneAfterTheOther) {
  const Ids script = ids_of(block(invoke("f", parameter("a", "true", "1")) + "\n" + invoke("g", "")));
  for (const Family family : {Family::kDeepSeek, Family::kOpenAi}) {
    const Answer answer = answer_of(script, false, Ending::kEos, family);
    ASSERT_EQ(answer.whole.calls.size(), 2U);
    EXPECT_EQ(without_id(answer.whole.calls[0]), R"(f {"a": "1"})");
    EXPECT_EQ(without_id(answer.whole.calls[1]), "g {}");
    EXPECT_NE(answer.whole.calls[0].substr(0, 20), answer.whole.calls[1].substr(0, 20));
    const std::string_view events = answer.events;
    EXPECT_GT(events.find(R"("index":1,"id")"), events.rfind(R"("tool_calls":[{"index":0,)"));
    // A later piece has nothing but its index and arguments.
    EXPECT_NE(events.find(R"({"tool_calls":[{"index":0,"function":{"arguments":"{\"a\": \""}}]})"),
              std::string_view::npos);
    EXPECT_EQ(events.find(R"("name":null)"), std::string_view::npos);
  }
}

TEST(ApiScript, Check118_StringParametersAreEscapedExactly) {
  const std::string value = "say \"hi\" \\ \n\t\x01 🌙 é";
  Ids script = ids_of(
      "\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"x\" string=\"true\">" + value);
  const Ids spelled = *tokenizer().encode("</think><｜DSML｜", {.added_tokens = text::AddedTokens::kOff});
  script.insert(script.end(), spelled.begin(), spelled.end());
  const Ids rest = ids_of("</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>");
  script.insert(script.end(), rest.begin(), rest.end());
  const Answer answer = answer_of(script, false);
  ASSERT_EQ(answer.whole.calls.size(), 1U);
  EXPECT_EQ(without_id(answer.whole.calls[0]), R"(f {"x": "say \"hi\" \\ \n\t\u0001 🌙 é</think><｜DSML｜"})");
}

TEST(ApiScript, Check119_OtherValuesArePassedThrough) {
  const std::string parameters = parameter("n", "false", "-1.50") + "\n" + parameter("l", "false", "[1,  \"a\"]") +
                                 "\n" + parameter("o", "false", R"({"k":null})") + "\n" +
                                 parameter("b", "false", "true");
  const Answer answer = answer_of(ids_of(block(invoke("f", parameters))), false);
  ASSERT_EQ(answer.whole.calls.size(), 1U);
  EXPECT_EQ(without_id(answer.whole.calls[0]), R"(f {"n": -1.50, "l": [1,  "a"], "o": {"k":null}, "b": true})");
}

TEST(ApiScript, Check120_NoParametersAreAnEmptyObject) {
  const Answer answer = answer_of(ids_of(block(invoke("f", ""))), false);
  ASSERT_EQ(answer.whole.calls.size(), 1U);
  EXPECT_EQ(without_id(answer.whole.calls[0]), "f {}");
}

TEST(ApiScript, Check129_ABrokenBlockIsTextOrCallsAndNeverAnError) {
  // A block that cannot be read from its start is content, without the special tokens.
  const Answer text = answer_of(ids_of("so <｜DSML｜tool_calls>\nnothing"), false);
  EXPECT_EQ(text.whole.content, "so <tool_calls>\nnothing");
  EXPECT_EQ(text.whole.reason, "stop");
  // An open call at the end of the answer is closed; what was complete stays.
  const Answer open = answer_of(ids_of("\n\n<｜DSML｜tool_calls>\n" + invoke("f", "") +
                                       "\n<｜DSML｜invoke name=\"g\">\n" + parameter("x", "true", "y")),
                                false);
  ASSERT_EQ(open.whole.calls.size(), 2U);
  EXPECT_EQ(without_id(open.whole.calls[1]), R"(g {"x": "y"})");
  EXPECT_EQ(open.whole.reason, "tool_calls");
  // Markup in ordinary tokens is text.
  const std::string quoted = block(invoke("f", ""));
  const Answer spelled = answer_of(*tokenizer().encode(quoted, {.added_tokens = text::AddedTokens::kOff}), false);
  EXPECT_EQ(spelled.whole.content, quoted);
  EXPECT_TRUE(spelled.whole.calls.empty());
}

TEST(ApiScript, Check130_TextBeforeABlockStaysWithoutItsNewlines) {
  const Answer answer = answer_of(ids_of("I look.\n\n\n" + block(invoke("f", "")).substr(1)), false);
  EXPECT_EQ(answer.whole.content, "I look.\n\n");  // the two newlines before the block are the encoding's
  EXPECT_EQ(answer.whole.calls.size(), 1U);
}

TEST(ApiScript, SpecialTokensAreNeverText) {
  Ids script = ids_of("a");
  for (const std::string_view special : {"<｜User｜>", "<｜Assistant｜>", "<think>", "<｜fim▁hole｜>"}) {
    script.push_back(*tokenizer().added_token_id(special));
    script.push_back(ids_of("b")[0]);
  }
  EXPECT_EQ(answer_of(script, false).whole.content, "abbbb");
  CompletionRequest request =
      *completion(Family::kOpenAi, R"({"model":"deepseek-v4-flash","prompt":"p","skip_special_tokens":false})");
  EXPECT_FALSE(request.skip_special_tokens);
}

TEST(ApiScript, Check150_153_IdsOfCompletionPrompts) {
  const auto ids = [](std::string_view prompt, bool raw) {
    const auto request = completion(Family::kOpenAi, R"({"model":"deepseek-v4-flash",)" + std::string(prompt) + "}");
    EXPECT_TRUE(request);
    return encode(tokenizer(), *request, request->prompts[0], raw);
  };
  const std::string user = std::to_string(*tokenizer().added_token_id("<｜User｜>"));
  const auto refused = ids("\"prompt\":[5," + user + "]", false);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, "prompt: token " + user + " is special; this key may send ordinary tokens only");
  EXPECT_EQ(ids("\"prompt\":[5," + user + "]", true)->size(), 2U);
  EXPECT_EQ(*ids("\"prompt\":[5,6]", false), Ids({5, 6}));  // no BOS
  const Ids fim = *ids(R"("prompt":"a<｜fim▁end｜>","suffix":"b")", false);
  EXPECT_EQ(*tokenizer().decode(fim),
            "<｜begin▁of▁sentence｜><｜fim▁begin｜>a<｜fim▁end｜><｜fim▁hole｜>b<｜fim▁end｜>");
  EXPECT_EQ(std::ranges::count(fim, *tokenizer().added_token_id("<｜fim▁end｜>")), 1);  // the typed one is text
  EXPECT_EQ(std::ranges::count_if(fim, [](std::int32_t id) { return tokenizer().is_added(id); }), 4);
}

TEST(ApiScript, Check74_100_EveryChoiceEndsOnceAndThePromptCountsOnce) {
  const ChatRequest request = *chat(Family::kOpenAi, chat_body(R"("n":3,"stream":true,)"));
  ChatStream stream(chat_form(request, {.family = Family::kOpenAi}));
  std::string events;
  for (std::int64_t i = 0; i < 3; ++i) stream.begin(i, events);
  const std::vector<Delta> delta{{.kind = DeltaKind::kContent, .text = "x"}};
  for (const std::int64_t i : {2, 0, 1}) stream.add(i, delta, events);
  for (const std::int64_t i : {1, 2, 0}) stream.finish(i, "stop", {.prompt = 5, .completion = 6}, events);
  std::array<int, 3> ends{};
  int usages = 0;
  std::string_view rest = events;
  while (!rest.starts_with(kDone)) {
    const std::size_t end = rest.find("\n\n");
    const auto json = text::parse_json(rest.substr(6, end - 6));
    ASSERT_TRUE(json);
    rest.remove_prefix(end + 2);
    const text::JsonValue& choice = json->find("choices")->items.at(0);
    const int index = std::stoi(choice.find("index")->text);
    if (choice.find("finish_reason")->is(text::JsonKind::kString)) ++ends.at(static_cast<std::size_t>(index));
    if (const auto* usage = json->find("usage"); usage != nullptr) {
      ++usages;
      EXPECT_EQ(usage->find("prompt_tokens")->text, "5");
      EXPECT_EQ(usage->find("total_tokens")->text, "11");
    }
  }
  EXPECT_EQ(rest, kDone);
  EXPECT_EQ(ends, (std::array<int, 3>{1, 1, 1}));
  EXPECT_EQ(usages, 1);
}

TEST(ApiScript, Check188_HitsAndMissesAddUpToThePrompt) {
  for (const std::int64_t cached : {0, 1, 127, 128, 300, 384}) {
    std::string out;
    append_usage(out, {.prompt = 400, .cached = cached, .completion = 1});
    const auto usage = text::parse_json(out);
    const std::int64_t hit = std::stoll(usage->find("prompt_cache_hit_tokens")->text);
    EXPECT_EQ(hit + std::stoll(usage->find("prompt_cache_miss_tokens")->text), 400);
    EXPECT_EQ(hit, cached / 128 * 128);
  }
}

}  // namespace
}  // namespace hadal::api
