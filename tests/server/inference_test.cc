// Handlers over a real engine with a tiny model: what clients ask becomes steps of the model, and tokens become
// answers.

#include "server/inference_handlers.h"

#include <gmock/gmock.h>

#include <set>

#include "server/api_rig.h"

namespace hadal::server {
namespace {

using hadal::testing::ApiRig;
using hadal::testing::Exchange;
using nlohmann::ordered_json;
using ::testing::HasSubstr;

constexpr const char* kChat = "/v1/chat/completions";

ordered_json hello(int max_tokens = 12) {
  return {{"model", "tiny"},
          {"messages", {{{"role", "user"}, {"content", "Hello"}}}},
          {"thinking", {{"type", "disabled"}}},
          {"max_tokens", max_tokens},
          {"seed", 7}};
}

/// The parts of a streamed chat put together as a client does.
ordered_json assemble(const Exchange& exchange) {
  ordered_json message = {{"content", ""}, {"reasoning_content", ""}, {"tool_calls", ordered_json::array()}};
  std::string finish;
  ordered_json usage;
  for (const std::string& event : exchange.events()) {
    if (event == "[DONE]") break;
    const ordered_json chunk = ordered_json::parse(event);
    if (chunk.contains("usage") && !chunk["usage"].is_null()) usage = chunk["usage"];
    for (const ordered_json& choice : chunk["choices"]) {
      const ordered_json& delta = choice["delta"];
      for (const char* const key : {"content", "reasoning_content"}) {
        if (delta.contains(key) && delta[key].is_string()) {
          message[key] = message[key].get<std::string>() + delta[key].get<std::string>();
        }
      }
      for (const ordered_json& call : delta.value("tool_calls", ordered_json::array())) {
        const std::size_t index = call["index"];
        if (index == message["tool_calls"].size()) {
          message["tool_calls"].push_back(call);
          continue;
        }
        auto& arguments = message["tool_calls"][index]["function"]["arguments"];
        arguments = arguments.get<std::string>() + call["function"]["arguments"].get<std::string>();
      }
      if (!choice["finish_reason"].is_null()) finish = choice["finish_reason"];
    }
  }
  return {{"message", message}, {"finish", finish}, {"usage", usage}};
}

// Checks 51, 59, 65, 66.
TEST(Inference, AnswersAChatAndTheSameAgainForTheSameSeed) {
  ApiRig rig({});
  const auto first = rig.post(kChat, hello());
  ASSERT_EQ(first->status(), 200) << first->bytes;
  const ordered_json body = first->json();
  EXPECT_EQ(body["object"], "chat.completion");
  EXPECT_EQ(body["model"], "tiny");
  ASSERT_EQ(body["choices"].size(), 1U);
  const ordered_json usage = body["usage"];
  EXPECT_EQ(usage["total_tokens"], usage["prompt_tokens"].get<int>() + usage["completion_tokens"].get<int>());
  if (body["choices"][0]["finish_reason"] == "length") {
    EXPECT_EQ(usage["completion_tokens"], 12);
  }
  EXPECT_EQ(first->header("x-hadal-seed"), "7");

  const auto again = rig.post(kChat, hello());
  EXPECT_EQ(again->json()["choices"], body["choices"]);
  ordered_json other = hello();
  other["seed"] = 8;
  EXPECT_NE(rig.post(kChat, other)->json()["choices"], body["choices"]);
  other.erase("seed");
  const auto drawn = rig.post(kChat, other);
  other["seed"] = std::stoll(drawn->header("x-hadal-seed"));
  EXPECT_EQ(rig.post(kChat, other)->json()["choices"], drawn->json()["choices"]);
}

// Checks 74, 100: streamed = whole, for several choices with drafts, and each choice as it is alone.
TEST(Inference, StreamedChoicesAreTheWholeOnes) {
  ApiRig rig({});
  ordered_json request = hello(20);
  request["n"] = 3;
  const auto whole = rig.post(kChat, request);
  ASSERT_EQ(whole->status(), 200) << whole->bytes;
  const ordered_json choices = whole->json()["choices"];
  ASSERT_EQ(choices.size(), 3U);
  EXPECT_NE(choices[0]["message"], choices[1]["message"]);
  request["stream"] = true;
  const auto streamed = rig.post(kChat, request);
  std::vector<std::string> contents(3);
  std::vector<int> finishes(3), roles(3);
  for (const std::string& event : streamed->events()) {
    if (event == "[DONE]") continue;
    const ordered_json chunk = ordered_json::parse(event);
    for (const ordered_json& choice : chunk["choices"]) {
      const std::size_t index = choice["index"];
      if (choice["delta"].contains("role")) ++roles[index];
      contents[index] += choice["delta"].value("content", "");
      finishes[index] += choice["finish_reason"].is_null() ? 0 : 1;
    }
  }
  EXPECT_EQ(streamed->events().back(), "[DONE]");
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(contents[i], choices[i]["message"]["content"].get<std::string>()) << i;
    EXPECT_EQ(finishes[i], 1);
    EXPECT_EQ(roles[i], 1);
  }
  EXPECT_EQ(whole->json()["usage"]["prompt_tokens"], rig.post(kChat, hello())->json()["usage"]["prompt_tokens"]);
}

// Checks 94, 116, 118, 119, 121: a scripted answer with reasoning, text and two calls.
TEST(Inference, GivesReasoningContentAndCallsInOrder) {
  ApiRig rig({.script =
                  R"("Let me see.</think>On it.\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"get_weather\">\n)"
                  R"(<｜DSML｜parameter name=\"city\" string=\"true\">Oslo \"N\"</｜DSML｜parameter>\n)"
                  R"(<｜DSML｜parameter name=\"days\" string=\"false\">3</｜DSML｜parameter>\n</｜DSML｜invoke>\n)"
                  R"(<｜DSML｜invoke name=\"now\">\n\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>")"});
  ordered_json request = {{"model", "tiny"},
                          {"messages", {{{"role", "user"}, {"content", "Weather?"}}}},
                          {"tools",
                           {{{"type", "function"}, {"function", {{"name", "get_weather"}}}},
                            {{"type", "function"}, {"function", {{"name", "now"}}}}}}};
  for (const bool stream : {false, true}) {
    request["stream"] = stream;
    const auto exchange = rig.post("/chat/completions", request);
    ASSERT_EQ(exchange->status(), 200) << exchange->bytes;
    const ordered_json made = stream ? assemble(*exchange) : ordered_json();
    const ordered_json message = stream ? made["message"] : exchange->json()["choices"][0]["message"];
    EXPECT_EQ(message["reasoning_content"], "Let me see.");
    EXPECT_EQ(message["content"], "On it.");
    ASSERT_EQ(message["tool_calls"].size(), 2U) << exchange->bytes;
    const ordered_json& call = message["tool_calls"][0];
    EXPECT_THAT(call["id"].get<std::string>(), ::testing::StartsWith("call_00_"));
    EXPECT_EQ(call["function"]["name"], "get_weather");
    EXPECT_EQ(call["function"]["arguments"], R"({"city": "Oslo \"N\"", "days": 3})");
    EXPECT_EQ(message["tool_calls"][1]["function"]["arguments"], "{}");
    EXPECT_EQ(stream ? made["finish"] : exchange->json()["choices"][0]["finish_reason"], "tool_calls");
    const ordered_json usage = stream ? made["usage"] : exchange->json()["usage"];
    EXPECT_EQ(usage["completion_tokens_details"]["reasoning_tokens"], 12) << "11 bytes and </think>";
  }
}

// Checks 131, 188: the next turn of an agent finds all of the last one, reasoning and calls included.
TEST(Inference, ATurnThatComesBackIsFoundByItsIds) {
  ApiRig rig({.script =
                  R"("Hm, the weather it is then.</think>)"
                  R"(\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"get_weather\">\n)"
                  R"(<｜DSML｜parameter name=\"city\" string=\"true\">Oslo</｜DSML｜parameter>\n</｜DSML｜invoke>\n)"
                  R"(</｜DSML｜tool_calls>")"});
  ordered_json request = {{"model", "tiny"},
                          {"messages", {{{"role", "user"}, {"content", "Weather?"}}}},
                          {"tools", {{{"type", "function"}, {"function", {{"name", "get_weather"}}}}}}};
  const ordered_json first = rig.post("/chat/completions", request)->json();
  const ordered_json usage = first["usage"];
  EXPECT_EQ(usage["prompt_cache_hit_tokens"], 0);
  ordered_json turn = first["choices"][0]["message"];
  const std::string id = turn["tool_calls"][0]["id"];
  // Clients write arguments anew.
  turn["tool_calls"][0]["function"]["arguments"] = R"({"city":"Oslo"})";
  request["messages"].push_back(turn);
  request["messages"].push_back({{"role", "tool"}, {"tool_call_id", id}, {"content", "rain"}});
  request["max_tokens"] = 4;
  const auto second = rig.post("/chat/completions", request);
  ASSERT_EQ(second->status(), 200) << second->bytes;
  const ordered_json now = second->json()["usage"];
  const int before = usage["prompt_tokens"].get<int>() + usage["completion_tokens"].get<int>();
  EXPECT_GE(now["prompt_cache_hit_tokens"].get<int>(), (before - 1) / 128 * 128);
  EXPECT_GT(now["prompt_tokens"].get<int>(), before);
  EXPECT_EQ(now["prompt_cache_hit_tokens"].get<int>() + now["prompt_cache_miss_tokens"].get<int>(),
            now["prompt_tokens"].get<int>());
  EXPECT_EQ(rig.replays.figures().hits, 1);
}

// Checks 111, 112, 114, 124.
TEST(Inference, HoldsACallThatIsInsistedOnToItsForm) {
  ApiRig rig({});
  ordered_json request = {
      {"model", "tiny"},
      {"messages", {{{"role", "user"}, {"content", "Weather?"}}}},
      {"thinking", {{"type", "disabled"}}},
      {"max_tokens", 250},
      {"parallel_tool_calls", false},
      {"tools",
       {{{"type", "function"}, {"function", {{"name", "a"}}}}, {{"type", "function"}, {"function", {{"name", "b"}}}}}},
      {"tool_choice", {{"type", "function"}, {"function", {{"name", "b"}}}}}};
  int complete = 0;
  for (int seed = 0; seed < 20; ++seed) {
    request["seed"] = seed;
    const auto exchange = rig.post(kChat, request);
    ASSERT_EQ(exchange->status(), 200) << exchange->bytes;
    const ordered_json choice = exchange->json()["choices"][0];
    ASSERT_EQ(choice["message"]["tool_calls"].size(), 1U);
    EXPECT_EQ(choice["message"]["tool_calls"][0]["function"]["name"], "b");
    EXPECT_TRUE(choice["message"]["content"].is_null());
    if (choice["finish_reason"] != "tool_calls") continue;
    ++complete;
    EXPECT_TRUE(ordered_json::accept(choice["message"]["tool_calls"][0]["function"]["arguments"].get<std::string>()));
  }
  EXPECT_GT(complete, 0);
  request["tool_choice"] = "none";
  const auto without = rig.post(kChat, request);
  request.erase("tool_choice");
  request.erase("tools");
  request.erase("parallel_tool_calls");
  EXPECT_EQ(without->json()["usage"]["prompt_tokens"], rig.post(kChat, request)->json()["usage"]["prompt_tokens"]);
}

// Check 136.
TEST(Inference, JsonModeGivesTheBeginningOfAnObjectOrAWholeOne) {
  ApiRig rig({});
  ordered_json request = hello(60);
  request["messages"][0]["content"] = "Some json, please.";
  request["response_format"] = {{"type", "json_object"}};
  for (int seed = 0; seed < 20; ++seed) {
    request["seed"] = seed;
    const auto exchange = rig.post(kChat, request);
    ASSERT_EQ(exchange->status(), 200) << exchange->bytes;
    const ordered_json choice = exchange->json()["choices"][0];
    const std::string content = choice["message"]["content"];
    EXPECT_TRUE(content.starts_with("{")) << content;
    if (choice["finish_reason"] == "stop") {
      EXPECT_TRUE(ordered_json::accept(content)) << content;
    }
  }
}

// Checks 78, 80.
TEST(Inference, LogprobsCoverTheTextTokenByToken) {
  ApiRig rig({});
  ordered_json request = hello(16);
  request["logprobs"] = true;
  request["top_logprobs"] = 5;
  const ordered_json choice = rig.post(kChat, request)->json()["choices"][0];
  std::string bytes;
  for (const ordered_json& entry : choice["logprobs"]["content"]) {
    for (const int byte : entry["bytes"]) bytes += static_cast<char>(byte);
    EXPECT_LE(entry["logprob"].get<double>(), 0);
    ASSERT_EQ(entry["top_logprobs"].size(), 5U);
    for (std::size_t i = 1; i < 5; ++i) {
      EXPECT_GE(entry["top_logprobs"][i - 1]["logprob"], entry["top_logprobs"][i]["logprob"]);
    }
  }
  EXPECT_EQ(text::replace_ill_formed(bytes), choice["message"]["content"].get<std::string>());
}

// Checks 106, 107: who leaves takes the work along; nothing is left running.
TEST(Inference, ClientsWhoLeaveEndTheirAnswers) {
  ApiRig rig({.step_delay = std::chrono::milliseconds(2)});
  ordered_json request = hello(256);
  request["ignore_eos"] = true;
  for (const bool stream : {true, false}) {
    request["stream"] = stream;
    const auto exchange = rig.send("POST", kChat, request.dump());
    if (stream)
      exchange->read([](const std::string& bytes) { return bytes.find("content\":\"") != std::string::npos; });
    exchange->stream->leave();
  }
  // The next request comes after the cancellations and is served as ever.
  EXPECT_EQ(rig.post(kChat, hello())->status(), 200);
  rig.service->drain(std::chrono::steady_clock::now() + std::chrono::seconds(60));
  const engine::ServiceFigures figures = rig.service->figures();
  EXPECT_EQ(figures.running, 0);
  EXPECT_EQ(figures.waiting, 0);
  EXPECT_EQ(figures.free_slots, figures.slots);
}

// Check 35.
TEST(Inference, AFullQueueIsTold) {
  ApiRig rig({.step_delay = std::chrono::milliseconds(20), .queue = 1});
  ordered_json request = hello(256);
  request["ignore_eos"] = true;
  std::vector<std::unique_ptr<Exchange>> exchanges;
  for (int i = 0; i < 12; ++i) exchanges.push_back(rig.send("POST", kChat, request.dump()));
  int refused = 0;
  for (const auto& exchange : exchanges) {
    if (exchange->status() != 503) {
      exchange->stream->leave();
      continue;
    }
    ++refused;
    exchange->read();
    EXPECT_EQ(exchange->json()["error"]["code"], "server_overloaded");
    EXPECT_FALSE(exchange->header("retry-after").empty());
  }
  EXPECT_GT(refused, 0);
}

// Checks 149, 152.
TEST(Inference, CompletesSeveralPromptsSeveralTimes) {
  ApiRig rig({});
  const auto exchange = rig.post(
      "/v1/completions",
      {{"model", "tiny"}, {"prompt", {"Once", "Twice"}}, {"n", 2}, {"max_tokens", 5}, {"seed", 1}, {"echo", true}});
  ASSERT_EQ(exchange->status(), 200) << exchange->bytes;
  const ordered_json body = exchange->json();
  EXPECT_EQ(body["object"], "text_completion");
  ASSERT_EQ(body["choices"].size(), 4U);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(body["choices"][i]["index"], i);
    EXPECT_THAT(body["choices"][i]["text"].get<std::string>(), ::testing::StartsWith(i < 2 ? "Once" : "Twice"));
  }
  EXPECT_EQ(body["usage"]["prompt_tokens"], 1 + 4 + 1 + 5);
}

// Check 150 where there are no tokens for it, as in nano's tokenizer: not taken for text.
TEST(Inference, RefusesASuffixThatTheModelHasNoTokensFor) {
  ApiRig rig({});
  for (const char* const path : {"/completions", "/beta/completions", "/v1/completions"}) {
    for (const char* const suffix : {"return a", ""}) {
      const auto exchange =
          rig.post(path, {{"model", "tiny"}, {"prompt", "def f("}, {"suffix", suffix}, {"max_tokens", 5}});
      EXPECT_EQ(exchange->status(), 400) << path;
      const ordered_json error = exchange->json()["error"];
      EXPECT_EQ(error["message"], "suffix: the model tiny has no tokens for filling in the middle");
      EXPECT_EQ(error["type"], "invalid_request_error");
      EXPECT_EQ(error["param"], "suffix");
    }
  }
  EXPECT_EQ(rig.service->figures().prompt_tokens, 0);
  EXPECT_EQ(rig.post("/completions", {{"model", "tiny"}, {"prompt", "def f("}, {"suffix", nullptr}, {"max_tokens", 5}})
                ->status(),
            200);
}

// Check 151: the logprobs of the prompt are those of answers that were forced to be it.
TEST(Inference, ScoresAPromptWithoutAnswering) {
  ApiRig rig({});
  ordered_json request = {
      {"model", "tiny"}, {"prompt", "naïve text"}, {"max_tokens", 0}, {"logprobs", 2}, {"echo", true}};
  const auto exchange = rig.post("/v1/completions", request);
  ASSERT_EQ(exchange->status(), 200) << exchange->bytes;
  const ordered_json body = exchange->json();
  EXPECT_EQ(body["usage"]["completion_tokens"], 0);
  const ordered_json choice = body["choices"][0];
  EXPECT_EQ(choice["text"], "naïve text");
  EXPECT_EQ(choice["finish_reason"], "length");
  const ordered_json& logprobs = choice["logprobs"];
  ASSERT_EQ(logprobs["tokens"].size(), 11U) << "bytes";
  EXPECT_TRUE(logprobs["token_logprobs"][0].is_null());
  EXPECT_EQ(logprobs["text_offset"], ordered_json({0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9}));
  // The same prompt cut short, with the next byte as the answer that is forced.
  for (const std::size_t cut : {1U, 5U, 9U}) {
    const std::string text = "naïve text";
    const int id = 3 + static_cast<unsigned char>(text[cut]);
    ordered_json shorter = {{"model", "tiny"},  {"prompt", ordered_json::array()},
                            {"max_tokens", 1},  {"logprobs", 2},
                            {"temperature", 0}, {"logit_bias", {{std::to_string(id), 100}}}};
    shorter["prompt"].push_back(0);
    for (std::size_t i = 0; i < cut; ++i) shorter["prompt"].push_back(3 + static_cast<unsigned char>(text[i]));
    rig.identity.permissions.add(Permission::kRaw);
    const auto answer = rig.post("/v1/completions", shorter);
    ASSERT_EQ(answer->status(), 200) << answer->bytes;
    EXPECT_EQ(answer->json()["choices"][0]["logprobs"]["token_logprobs"][0], logprobs["token_logprobs"][cut]) << cut;
  }
  request["max_tokens"] = 3;
  request["seed"] = 5;
  const ordered_json longer = rig.post("/v1/completions", request)->json()["choices"][0];
  EXPECT_EQ(longer["logprobs"]["token_logprobs"][10], logprobs["token_logprobs"][10]);
  EXPECT_THAT(longer["text"].get<std::string>(), ::testing::StartsWith("naïve text"));
}

// Checks 40, 41, 192.
TEST(Inference, ListsModelsAndTokenizes) {
  ApiRig rig({});
  const auto list = rig.send("GET", "/v1/models", "");
  list->read();
  EXPECT_EQ(list->json()["data"][0]["id"], "tiny");
  const auto one = rig.send("GET", "/v1/models/tiny-chat", "");
  one->read();
  EXPECT_EQ(one->json()["id"], "tiny");
  const auto none = rig.send("GET", "/v1/models/gpt", "");
  none->read();
  EXPECT_EQ(none->status(), 404);
  EXPECT_EQ(none->json()["error"]["code"], "model_not_found");
  const ordered_json tokens = rig.post("/tokenize", {{"content", "a</think>b"}})->json()["tokens"];
  EXPECT_EQ(tokens.size(), 10U) << "markers that a client types are text";
  EXPECT_EQ(rig.post("/detokenize", {{"tokens", tokens}})->json()["content"], "a</think>b");
}

}  // namespace
}  // namespace hadal::server
