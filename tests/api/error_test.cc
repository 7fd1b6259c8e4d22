#include "api/error.h"

#include <gtest/gtest.h>

#include "api/models.h"
#include "requests.h"

namespace hadal::api {
namespace {

TEST(ApiError, BodiesHaveTheKeysOfEachFamilyInOrder) {
  const ApiError error{Cause::kInvalidValue, "n: \"x\"", "n"};
  EXPECT_EQ(
      error_body(Family::kDeepSeek, error),
      R"({"error":{"message":"n: \"x\"","type":"invalid_request_error","param":"n","code":"invalid_request_error"}})");
  EXPECT_EQ(error_body(Family::kOpenAi, error),
            R"({"error":{"message":"n: \"x\"","type":"invalid_request_error","param":"n","code":"invalid_value"}})");
  EXPECT_EQ(error_body(Family::kOpenAi, {Cause::kInternal, "ours"}),
            R"({"error":{"message":"ours","type":"server_error","param":null,"code":null}})");
  EXPECT_EQ(
      error_event(Family::kOpenAi, {Cause::kTimeLimit, "late"}),
      "data: {\"error\":{\"message\":\"late\",\"type\":\"server_error\",\"param\":null,\"code\":\"timeout\"}}\n\n");
}

TEST(ApiError, Check62_PromptTooLongNamesMessagesToOpenAi) {
  EXPECT_EQ(
      error_body(Family::kOpenAi, {Cause::kPromptTooLong, "long"}),
      R"({"error":{"message":"long","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}})");
}

TEST(ApiError, MessagesShowLittleOfAClientsTextInOneLine) {
  EXPECT_EQ(excerpt("a\nb"), "a b");
  EXPECT_EQ(excerpt("abcd", 3), "abc...");
  EXPECT_EQ(excerpt("ab中", 4), "ab...");
  EXPECT_EQ(excerpt("ab中", 5), "ab中");
  const std::string role = std::string(63, 'r') + "中";
  EXPECT_EQ(
      chat_outcome(Family::kOpenAi, messages_body(R"({"role":")" + role + R"(","content":"q"})")),
      "400 messages[0].role: '" + std::string(63, 'r') + "...' is no role; expected system, user, assistant or tool");
  EXPECT_EQ(chat_outcome(Family::kOpenAi, chat_body("", "gpt\\n4o")).substr(0, 22), "404 The model 'gpt 4o'");
}

TEST(ApiError, StatusAndRetryOfEveryCause) {
  struct Row {
    Cause cause;
    int deepseek, openai;
  };
  for (const auto& [cause, deepseek, openai] :
       {Row{Cause::kMalformed, 400, 400}, Row{Cause::kInvalidValue, 400, 400}, Row{Cause::kPromptTooLong, 400, 400},
        Row{Cause::kWrongKey, 401, 401}, Row{Cause::kNoKey, 401, 401}, Row{Cause::kNoBalance, 402, 429},
        Row{Cause::kNotPermitted, 403, 403}, Row{Cause::kUnknownModel, 400, 404}, Row{Cause::kUnknownPath, 404, 404},
        Row{Cause::kWrongMethod, 405, 405}, Row{Cause::kWrongMediaType, 415, 415}, Row{Cause::kBodyTooLarge, 413, 413},
        Row{Cause::kTooManyRequests, 429, 429}, Row{Cause::kTooManyTokens, 429, 429}, Row{Cause::kOverloaded, 503, 503},
        Row{Cause::kInternal, 500, 500}, Row{Cause::kTimeLimit, 504, 504}, Row{Cause::kSlowBody, 408, 408}}) {
    EXPECT_EQ(http_status(Family::kDeepSeek, cause), deepseek);
    EXPECT_EQ(http_status(Family::kOpenAi, cause), openai);
  }
  EXPECT_EQ(should_retry(Family::kOpenAi, Cause::kNoBalance), false);  // 429 that waiting does not help
  EXPECT_EQ(should_retry(Family::kOpenAi, Cause::kTooManyRequests), std::nullopt);
  EXPECT_EQ(should_retry(Family::kDeepSeek, Cause::kMalformed), false);
  EXPECT_TRUE(names_retry_time(Family::kDeepSeek, Cause::kOverloaded));
  EXPECT_FALSE(names_retry_time(Family::kOpenAi, Cause::kNoBalance));
}

TEST(ApiError, Check26_WrongKeyShowsItsLastFourCharactersOnly) {
  EXPECT_EQ(wrong_key_message(Family::kDeepSeek, "sk-abcdefghijklmn1234"),
            "Authentication Fails, Your api key: ****1234 is invalid");
  EXPECT_EQ(wrong_key_message(Family::kDeepSeek, "short"), "Authentication Fails, Your api key: **** is invalid");
}

TEST(ApiModels, Check40_41_ListsOfBothFamilies) {
  EXPECT_EQ(model_list_body(Family::kDeepSeek, {served().find("deepseek-v4-flash")}, false),
            R"({"object":"list","data":[{"id":"deepseek-v4-flash","object":"model","owned_by":"deepseek",)"
            R"("name":"DeepSeek-V4-Flash","context_window":1048576,"max_output_tokens":393216,)"
            R"("input_modalities":["text"],"output_modalities":["text"],)"
            R"("effort":{"supported_levels":["low","high","max"],"default_level":"high"},)"
            R"("api_capabilities":{"anthropic_messages":{"system_prompt_update":"in-history"}}}]})");
  const std::string openai = model_list_body(Family::kOpenAi, {served().find("deepseek-v4-pro")}, true);
  EXPECT_NE(openai.find(R"("created":0,)"), std::string::npos);
  EXPECT_NE(openai.find(R"("max_model_len":1048576})"), std::string::npos);
  EXPECT_TRUE(openai.ends_with(R"(],"models":[]})"));  // check 47
}

TEST(ApiModels, Check42_43_AliasesDecideThinking) {
  const auto off = chat(Family::kDeepSeek, chat_body("", "deepseek-chat"));
  ASSERT_TRUE(off);
  EXPECT_EQ(off->model->id, "deepseek-v4-flash");
  EXPECT_FALSE(off->thinking.on);
  const auto on = chat(Family::kDeepSeek, chat_body("", "deepseek-reasoner"));
  ASSERT_TRUE(on);
  EXPECT_TRUE(on->thinking.on);
}

TEST(ApiModels, Check44_UnknownModel) {
  EXPECT_EQ(chat_outcome(Family::kDeepSeek, chat_body("", "gpt-4o")),
            "400 The supported API model names are deepseek-v4-flash or deepseek-v4-pro, but you passed gpt-4o.");
  EXPECT_EQ(chat_outcome(Family::kOpenAi, chat_body("", "gpt-4o")),
            "404 The model 'gpt-4o' does not exist; served: deepseek-v4-flash or deepseek-v4-pro");
  const auto any = ModelTable::create({*official_model("nano")}, "hadal-nano");
  ASSERT_TRUE(any);
  EXPECT_EQ(any->choose(Family::kOpenAi, "gpt-4o")->model->id, "hadal-nano");
  EXPECT_EQ(any->choose(Family::kOpenAi, std::nullopt)->model->id, "hadal-nano");
  EXPECT_FALSE(any->choose(Family::kDeepSeek, std::nullopt));
  EXPECT_FALSE(ModelTable::create({*official_model("nano"), *official_model("nano")}));
  EXPECT_FALSE(ModelTable::create({*official_model("nano")}, "other"));
}

TEST(ApiModels, Check49_BalancesAreTextsWithTwoDecimals) {
  EXPECT_EQ(balance_body(true, {{.currency = "CNY", .granted = 1000, .topped_up = 10005}}),
            R"({"is_available":true,"balance_infos":[{"currency":"CNY","total_balance":"110.05",)"
            R"("granted_balance":"10.00","topped_up_balance":"100.05"}]})");
  EXPECT_NE(balance_body(false, {{.granted = -5}}).find(R"("total_balance":"-0.05")"), std::string::npos);
}

}  // namespace
}  // namespace hadal::api
