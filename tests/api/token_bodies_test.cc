#include "api/token_bodies.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "api/probes.h"
#include "api/prompt.h"
#include "api/requests.h"
#include "api/transient_text.h"
#include "text/generated_chats.h"
#include "text/golden_text.h"

namespace hadal::api {
namespace {

const text::Tokenizer& tokenizer() { return text::v4_tokenizer(); }

std::string shown(const ApiResult<std::string>& body) {
  return body ? *body : std::to_string(http_status(Family::kOpenAi, body.error().cause)) + " " + body.error().message;
}

std::string tokenized(std::string_view body) { return shown(tokenize_body(*read_body(body), tokenizer(), settings())); }
std::string detokenized(std::string_view body) { return shown(detokenize_body(*read_body(body), tokenizer())); }

std::string ids_text(const std::vector<std::int32_t>& ids) {
  std::string out;
  for (const std::int32_t id : ids) out += (out.empty() ? "" : ",") + std::to_string(id);
  return out;
}

TEST(ApiTokenize, FormsOfBothKinds) {
  const std::string a = std::to_string(tokenizer().encode("a")->at(0));
  const std::string bos = std::to_string(*tokenizer().bos_id());
  EXPECT_EQ(tokenized(R"({"model":"deepseek-v4-flash","prompt":"a"})"),
            R"({"count":2,"max_model_len":1048576,"tokens":[)" + bos + "," + a + R"(],"token_strs":null})");
  EXPECT_EQ(
      tokenized(R"({"model":"deepseek-v4-flash","prompt":"a","add_special_tokens":false,"return_token_strs":true})"),
      R"({"count":1,"max_model_len":1048576,"tokens":[)" + a + R"(],"token_strs":["a"]})");
  EXPECT_EQ(tokenized(R"({"content":"a"})"), R"({"tokens":[)" + a + "]}");
  EXPECT_EQ(tokenized(R"({"content":""})"), R"({"tokens":[]})");
  EXPECT_EQ(tokenized(R"({"content":"a","with_pieces":true,"add_special":true})"),
            R"({"tokens":[{"id":)" + bos + R"(,"piece":"<｜begin▁of▁sentence｜>"},{"id":)" + a + R"(,"piece":"a"}]})");
  EXPECT_EQ(tokenized(R"({"content":"</think>","parse_special":true})"),
            R"({"tokens":[)" + std::to_string(*tokenizer().added_token_id("</think>")) + "]}");
  EXPECT_NE(tokenized(R"({"content":"\ud83e\udef7","with_pieces":true})").find(R"("piece":[)"), std::string::npos);
  EXPECT_EQ(tokenized(R"({"model":"deepseek-v4-flash"})"), "400 prompt: expected string; or messages, or content");
  EXPECT_EQ(tokenized(R"({"content":"a","with_pieces":1})"), "400 with_pieces: expected boolean, got number");
}

TEST(ApiTokenize, Check192_DetokenizeIsItsInverse) {
  for (std::uint32_t seed = 0; seed < 1000; ++seed) {
    text::Choices choices(seed + 700'000);
    std::string text;
    for (std::size_t count = choices.below(12); count > 0; --count) {
      text += choices.one_in(2) ? choices.of(text::kFragments) : choices.of(text::kPlainPieces);
      if (choices.one_in(8)) text += "<｜User｜><think></think><｜end▁of▁sentence｜><｜fim▁hole｜>";
    }
    std::string quoted;
    text::append_json_string(quoted, text);
    const std::string tokens = tokenized(R"({"content":)" + quoted + "}");
    ASSERT_EQ(detokenized(tokens), fmt::format(R"({{"prompt":{0},"content":{0}}})", quoted));
    const auto ids = text::parse_json(tokens);
    for (const text::JsonValue& id : ids->find("tokens")->items) {
      ASSERT_FALSE(tokenizer().is_added(std::stoi(id.text))) << text;  // check 89
    }
  }
  EXPECT_EQ(detokenized(R"({"tokens":[1,-1]})"), "400 tokens[1]: expected the id of a token");
  EXPECT_EQ(detokenized(R"({"tokens":[1.0]})"), "400 tokens[0]: expected the id of a token");
  EXPECT_EQ(detokenized(R"({"tokens":[2147483648]})"), "400 tokens[0]: expected the id of a token");
  EXPECT_EQ(detokenized("{}"), "400 tokens: expected array of token ids");
}

TEST(ApiTokenize, Check193_TheTemplateTokenisedWithSpecialsIsThePrompt) {
  const std::string body = messages_body(R"({"role":"system","content":"s"},{"role":"user","content":"q 中"},)"
                                         R"({"role":"assistant","content":"a"},{"role":"user","content":"r"})",
                                         R"("tools":[{"type":"function","function":{"name":"f"}}],)");
  const auto prompt = template_body(*read_body(body), settings());
  ASSERT_TRUE(prompt);
  const std::string text = text::parse_json(*prompt)->find("prompt")->text;
  EXPECT_TRUE(text.ends_with("<｜User｜>r<｜Assistant｜><think>"));
  const auto ids = tokenizer().encode(text);
  EXPECT_EQ(tokenized(body), R"({"count":)" + std::to_string(ids->size()) + R"(,"max_model_len":1048576,"tokens":[)" +
                                 ids_text(*ids) + R"(],"token_strs":null})");
  const auto closed =
      template_body(*read_body(messages_body(R"({"role":"user","content":"q"})",
                                             R"("thinking":{"type":"disabled"},"add_generation_prompt":false,)")),
                    settings());
  EXPECT_EQ(shown(closed), R"({"prompt":"<｜begin▁of▁sentence｜><｜User｜>q"})");
  EXPECT_EQ(shown(template_body(*read_body(R"({"model":"deepseek-v4-flash","messages":[]})"), settings())).substr(0, 4),
            "400 ");
}

TEST(ApiProbes, Check1_BodiesOfProbes) {
  EXPECT_EQ(kHealthy, R"({"status":"ok"})");
  EXPECT_TRUE(text::parse_json(kReady));
  EXPECT_TRUE(text::parse_json(kLoading));
  EXPECT_EQ(version_body("1.2"), R"({"version":"1.2"})");
}

TEST(ApiTransientText, Check165_TheBillingHeadersValueIsMadeStable) {
  std::vector<text::Message> messages{
      {.role = "system",
       .content = {.text = "x-anthropic-billing-header: cc_version=2.1; xcch=1; cch=a9f; more=1;\ncch=5;"}},
      {.role = "system", .content = {.parts = {{.type = "text", .text = "x-anthropic-billing-header: cch=77"}}}},
      {.role = "system", .content = {.text = "see x-anthropic-billing-header: cch=1;"}},
      {.role = "user", .content = {.text = "x-anthropic-billing-header: cch=1;"}}};
  const auto done = make_stable(messages);
  EXPECT_EQ(messages[0].content.text, "x-anthropic-billing-header: cc_version=2.1; xcch=1; cch=0; more=1;\ncch=5;");
  EXPECT_EQ(messages[1].content.parts[0].text, "x-anthropic-billing-header: cch=0");
  EXPECT_EQ(messages[2].content.text, "see x-anthropic-billing-header: cch=1;");
  EXPECT_EQ(messages[3].content.text, "x-anthropic-billing-header: cch=1;");
  ASSERT_EQ(done.size(), 2U);
  EXPECT_EQ(done[0].message, 0);
  EXPECT_EQ(done[0].replaced, 3);
  EXPECT_EQ(done[1].message, 1);
  EXPECT_EQ(done[1].replaced, 2);
}

}  // namespace
}  // namespace hadal::api
