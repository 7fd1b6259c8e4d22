#include <gtest/gtest.h>

#include "api/completion_answer.h"
#include "api/outputs.h"
#include "api/requests.h"
#include "text/golden_text.h"

namespace hadal::api {
namespace {

CompletionRequest request(std::string_view members) {
  return *completion(Family::kOpenAi, "{" + std::string(members) + R"("model":"deepseek-v4-flash","prompt":"中b"})");
}

AnswerHead head() { return {.family = Family::kOpenAi, .id = "id", .created = 7, .model = "m", .fingerprint = "fp"}; }

constexpr std::string_view kUsage =
    R"({"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,"prompt_tokens_details":{"cached_tokens":0},)"
    R"("prompt_cache_hit_tokens":0,"prompt_cache_miss_tokens":3})";

TEST(ApiCompletionAnswer, Check149_KeyOrderToTheByte) {
  const CompletionRequest asked = request("");
  TextChoice choice(asked, "中b");
  TextBody body(text_form(asked, head()));
  body.add(0, choice.push({.text = "18"}));
  body.add(0, choice.finish(Ending::kEos));
  body.finish(0, *choice.reason());
  EXPECT_EQ(body.text({.prompt = 3, .completion = 2}),
            R"({"id":"id","choices":[{"text":"18","index":0,"logprobs":null,"finish_reason":"stop"}],"created":7,)"
            R"("model":"m","system_fingerprint":"fp","object":"text_completion","usage":)" +
                std::string(kUsage) + "}");
}

TEST(ApiCompletionAnswer, StreamToTheByte) {
  const CompletionRequest asked = request(R"("stream":true,"stream_options":{"include_usage":true},"stop":"XY",)");
  TextChoice choice(asked, "中b");
  TextStream stream(text_form(asked, head()));
  std::string out;
  stream.begin(0, out);
  stream.add(0, choice.push({.text = "aX"}), out);
  stream.add(0, choice.push({.text = "Yb"}), out);
  EXPECT_TRUE(choice.ended());
  stream.add(0, choice.finish(Ending::kEos), out);
  stream.finish(0, *choice.reason(), {.prompt = 3, .completion = 2}, out);
  const std::string tail = R"(,"created":7,"model":"m","system_fingerprint":"fp","object":"text_completion","usage":)";
  const auto event = [&tail](std::string_view choices, std::string_view usage) {
    return R"(data: {"id":"id","choices":[)" + std::string(choices) + "]" + tail + std::string(usage) + "}\n\n";
  };
  EXPECT_EQ(out, event(R"({"text":"","index":0,"logprobs":null,"finish_reason":null})", "null") +
                     event(R"({"text":"a","index":0,"logprobs":null,"finish_reason":null})", "null") +
                     event(R"({"text":"","index":0,"logprobs":null,"finish_reason":"stop"})", "null") +
                     event("", kUsage) + "data: [DONE]\n\n");
}

TEST(ApiCompletionAnswer, Check151_EchoedPromptHasLogprobsAndOffsetsInCharacters) {
  const CompletionRequest asked = request(R"("echo":true,"logprobs":1,"stop":"Q",)");
  TextChoice choice(asked, "中b");
  TextBody body(text_form(asked, head()));
  TokenLogprob b = token("b", -0.25);
  b.top = {{"c", -0.125}};
  body.add(0, choice.echo({.text = "中b", .pieces = {"中", "b"}, .tokens = {token("中", std::nullopt), b}}));
  body.add(0, choice.push({.text = "é"}, token("é", -1)));
  body.add(0, choice.push({.text = "xQy"}, token("xQy", -2)));
  body.add(0, choice.finish(Ending::kEos));
  body.finish(0, *choice.reason());
  const std::string text = body.text({});
  EXPECT_NE(text.find(R"({"text":"中béx","index":0,"logprobs":{"tokens":["中","b","é","xQy"],)"
                      R"("token_logprobs":[null,-0.25,-1.0,-2.0],)"
                      R"("top_logprobs":[null,{"c":-0.125,"b":-0.25},{"é":-1.0},{"xQy":-2.0}],)"
                      R"("text_offset":[0,1,2,3]},"finish_reason":"stop"})"),
            std::string::npos)
      << text;
}

TEST(ApiCompletionAnswer, Check151_AnEchoIsMadeOfThePromptsIds) {
  const text::Tokenizer& tokenizer = text::v4_tokenizer();
  const std::vector<std::int32_t> ids = *tokenizer.encode("<｜begin▁of▁sentence｜>ab 🫷 c");
  std::vector<TokenLogprob> tokens;
  tokens.reserve(ids.size());
  for (const std::int32_t id : ids) tokens.push_back(token(std::string(tokenizer.token_bytes(id)), -0.5));
  const Echo echo = echo_of(tokenizer, ids, tokens);
  EXPECT_EQ(echo.text, "ab 🫷 c");
  ASSERT_EQ(echo.tokens.size(), ids.size() - 1);  // without BOS
  ASSERT_EQ(echo.pieces.size(), echo.tokens.size());
  EXPECT_EQ(echo.tokens[0].logprob, std::nullopt);
  EXPECT_EQ(echo.tokens[1].logprob, -0.5);
  std::string pieces;
  for (const std::string& piece : echo.pieces) pieces += piece;
  EXPECT_EQ(pieces, echo.text);
  EXPECT_TRUE(echo_of(tokenizer, ids).tokens.empty());
}

TEST(ApiCompletionAnswer, Check152_ChoicesOfAllPrompts) {
  const auto asked = completion(Family::kOpenAi, R"({"model":"deepseek-v4-flash","prompt":["a","b"],"n":2})");
  ASSERT_TRUE(asked);
  EXPECT_EQ(text_form(*asked, head()).choices, 4);
}

}  // namespace
}  // namespace hadal::api
