// What whoever runs a server sees and does: figures after a known exchange, keys that are revoked, the log of texts.

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "server/api_rig.h"
#include "server/http_server.h"
#include "server/log_file.h"
#include "server/metrics_text.h"
#include "server/raw_client.h"
#include "server/status_routes.h"
#include "server/test_server.h"
#include "testing/temp_directory.h"

namespace hadal::server {
namespace {

using testing::ApiRig;
using ::testing::HasSubstr;
using testing::ordered_json;

constexpr const char* kChat = "/v1/chat/completions";

ordered_json chat(int max_tokens) {
  return {{"model", "tiny"},
          {"messages", {{{"role", "user"}, {"content", std::string(200, 'a')}}}},
          {"thinking", {{"type", "disabled"}}},
          {"ignore_eos", true},
          {"temperature", 0},
          {"max_tokens", max_tokens}};
}

/// The rig's handlers behind a socket, with all that counts.
class CountedServer {
 public:
  CountedServer() : rig({.on_step = [this](const engine::StepFigures& step) { metrics.step(step); }}) {
    rig.context->served.drafts = engine::DraftMode::kOff;
    rig.context->metrics = &metrics;
    rig.context->keys = keys.get();
    std::vector<Route> routes = rig.routes;
    for (Route& route : status_routes(
             {.readiness = [] { return Readiness::kReady; },
              .metrics = [this] { return metrics.text(rig.service->figures(), {}, rig.replays.figures()); }})) {
      routes.push_back(std::move(route));
    }
    auto started = HttpServer::start(loopback_options(), std::move(routes),
                                     {.gate = make_gate(*rig.context), .on_ended = [this](const RequestRecord& record) {
                                        metrics.request_ended(record);
                                        records.put(record);
                                      }});
    EXPECT_TRUE(started) << started.error().message;
    server = *std::move(started);
  }

  /// Sends it, and waits until it has been counted.
  RawAnswer ask(const std::string& request) {
    RawClient client(server->port());
    client.send(request);
    RawAnswer answer = client.read_answer();
    EXPECT_TRUE(records.take());
    return answer;
  }

  Metrics metrics{{.model = "tiny", .context = ApiRig::kContext}};
  std::unique_ptr<Keys> keys = Keys::for_everyone({});
  ApiRig rig;
  Waiting<RequestRecord> records;
  std::unique_ptr<HttpServer> server;
};

TEST(Operation, Check191CountsAKnownExchangeAsWhatItWas) {
  CountedServer counted;
  const std::string request = http_request("POST", kChat, chat(5).dump());
  const ordered_json first = ordered_json::parse(counted.ask(request).body)["usage"];
  const ordered_json second = ordered_json::parse(counted.ask(request).body)["usage"];
  const int prompt = first["prompt_tokens"];
  const int hit = second["prompt_cache_hit_tokens"];
  EXPECT_EQ(first["prompt_cache_hit_tokens"], 0);
  EXPECT_GE(hit, 128);
  counted.rig.service->drain(std::chrono::steady_clock::now() + std::chrono::seconds(60));  // its figures are complete
  auto value = metric_samples(counted.ask(http_request("GET", "/metrics")).body);
  const int computed = 2 * prompt - hit;
  EXPECT_EQ(value["hadal:prompt_tokens_total"], computed);
  EXPECT_EQ(value["hadal:prompt_tokens_cached_total"], hit);
  EXPECT_EQ(value["hadal:prefix_cache_queries_total"], 2 * prompt);
  EXPECT_EQ(value[R"(hadal:prefix_cache_hits_total{tier="memory"})"], hit);
  EXPECT_EQ(value[R"(hadal:prefix_cache_hits_total{tier="disk"})"], 0);
  EXPECT_EQ(value["hadal:generation_tokens_total"], 10);
  EXPECT_EQ(value["hadal:iteration_tokens_total_sum"], computed + 2 * 4) << "an answer's last token is not fed";
  EXPECT_EQ(value["hadal:iteration_tokens_total_count"], value["hadal:engine_steps_total"]);
  EXPECT_EQ(value["hadal:engine_step_seconds_count"], value["hadal:engine_steps_total"]);
  EXPECT_EQ(value["hadal:engine_batch_tokens"], 1);
  EXPECT_EQ(value["hadal:num_requests_running"], 0);
  EXPECT_EQ(value["hadal:spec_decode_num_drafts_total"], 0);
  EXPECT_EQ(value[R"(hadal:http_requests_total{code="200",endpoint="/v1/chat/completions",family="openai"})"], 2);
  EXPECT_EQ(value[R"(hadal:request_success_total{finished_reason="length"})"], 2);
  EXPECT_EQ(value["hadal:request_prompt_tokens_sum"], 2 * prompt);
  EXPECT_EQ(value["hadal:request_generation_tokens_sum"], 10);
  EXPECT_EQ(value["hadal:time_to_first_token_seconds_count"], 2);
  EXPECT_EQ(value["hadal:inter_token_latency_seconds_count"], 8);
  EXPECT_EQ(value["hadal:e2e_request_latency_seconds_count"], 2);
}

// Check 31, for servers that are told so.
TEST(Operation, EndsRunningAnswersOfAKeyThatMayNotGoOn) {
  ApiRig rig({.step_delay = std::chrono::milliseconds(2)});
  RunningAnswers running;
  rig.context->running = &running;
  const auto ask = [&](const std::string& key, bool stream, int max_tokens) {
    rig.identity.key.id = key;
    ordered_json request = chat(max_tokens);
    request["stream"] = stream;
    return rig.send("POST", kChat, request.dump());
  };
  const auto ended = ask("key_1", true, 250);
  const auto refused = ask("key_1", false, 250);
  const auto other = ask("key_2", true, 20);
  ended->read([](const std::string& bytes) { return bytes.find("\"role\"") != std::string::npos; });
  running.end_unless([](std::string_view key) { return key != "key_1"; }, {api::Cause::kWrongKey, "Not any more."});
  for (const auto& exchange : {ended.get(), refused.get(), other.get()}) exchange->read();

  EXPECT_EQ(ended->status(), 200);
  const ordered_json last = ordered_json::parse(ended->events().back());
  EXPECT_EQ(last["error"]["message"], "Not any more.");
  EXPECT_EQ(last["error"]["code"], "invalid_api_key");
  EXPECT_EQ(refused->status(), 401);
  EXPECT_EQ(refused->json()["error"]["message"], "Not any more.");
  EXPECT_EQ(other->events().back(), "[DONE]");
  rig.service->drain(std::chrono::steady_clock::now() + std::chrono::seconds(60));
  EXPECT_EQ(rig.service->figures().free_slots, rig.service->figures().slots);
  EXPECT_LT(rig.service->figures().answer_tokens, 2 * 250) << "nobody computes for them any more";
  for (const auto& exchange : {ended.get(), refused.get()}) EXPECT_EQ(exchange->stream->notes().finish, "abort");
}

TEST(Operation, WritesPromptsAndAnswersWhereItIsTold) {
  const testing_support::TempDirectory directory;
  const auto path = directory.path() / "content";
  ApiRig rig({.script = "\"Fine, \\\"thanks\\\".\"\n\"Two\""});
  auto log = LogFile::open(path, LogFile::Readers::kOwner);
  ASSERT_TRUE(log) << log.error().message;
  rig.context->content_log = log->get();
  ordered_json request = chat(50);
  request["messages"][0]["content"] = "How is it?";
  request.erase("ignore_eos");
  ASSERT_EQ(rig.post(kChat, request)->status(), 200);
  ASSERT_EQ(rig.post("/v1/completions", {{"model", "tiny"}, {"prompt", {"One", "Three"}}, {"max_tokens", 1}})->status(),
            200);
  rig.service->drain(std::chrono::steady_clock::now() + std::chrono::seconds(60));
  log->reset();
  std::istringstream lines(testing_support::read_text(path));
  std::string line;
  ASSERT_TRUE(std::getline(lines, line));
  const ordered_json chatted = ordered_json::parse(line);
  EXPECT_EQ(chatted["request_id"], "req_test");
  EXPECT_EQ(chatted["key"], "local");
  EXPECT_EQ(chatted["model"], "tiny");
  ASSERT_EQ(chatted["prompts"].size(), 1U);
  EXPECT_THAT(chatted["prompts"][0].get<std::string>(), HasSubstr("How is it?"));
  ASSERT_EQ(chatted["answers"].size(), 1U);
  EXPECT_THAT(chatted["answers"][0].get<std::string>(), ::testing::StartsWith("Fine, \"thanks\"."));
  ASSERT_TRUE(std::getline(lines, line));
  const ordered_json completed = ordered_json::parse(line);
  ASSERT_EQ(completed["prompts"].size(), 2U);
  EXPECT_THAT(completed["prompts"][1].get<std::string>(), ::testing::EndsWith("Three"));
  EXPECT_EQ(completed["answers"].size(), 2U);
  EXPECT_FALSE(std::getline(lines, line));
}

}  // namespace
}  // namespace hadal::server
