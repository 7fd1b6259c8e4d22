// The program with a model that is slow on purpose: others get their turn, silence is filled, who leaves takes the work
// along, and the end does not wait for ever.

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "e2e/server_process.h"
#include "server/raw_client.h"

namespace hadal::e2e {
namespace {

using nlohmann::ordered_json;
using server::http_request;
using server::RawAnswer;
using server::RawClient;
using ::testing::HasSubstr;
using ::testing::Not;

std::string chat(const std::string& path, int max_tokens, bool stream, const std::string& text = "Tell me a story.") {
  const ordered_json body = {{"model", "hadal-nano"},
                             {"messages", {{{"role", "user"}, {"content", text}}}},
                             {"thinking", {{"type", "disabled"}}},
                             {"ignore_eos", true},
                             {"max_tokens", max_tokens},
                             {"stream", stream}};
  return http_request("POST", path, body.dump());
}

/// One sample of /metrics; -1: not there.
double metric(std::uint16_t port, const std::string& name) {
  RawClient client(port);
  client.send(http_request("GET", "/metrics"));
  const std::string text = client.read_answer().body;
  const std::size_t line = text.find("\nhadal:" + name + "{");
  if (line == std::string::npos) return -1;
  return std::stod(text.substr(text.find("} ", line) + 2));
}

TEST(SlowModel, OthersGetTokensBesideALongAnswerWhichEndsWhenItsClientLeaves) {
  ServerProcess server(
      {"--context", "1024", "--parallel", "2", "--threads", "1", "--step-delay", "500", "--draft", "off"});
  ASSERT_NE(server.port(), 0);
  RawClient greedy(server.port());
  ASSERT_TRUE(greedy.send(chat("/v1/chat/completions", 900, true)));
  EXPECT_THAT(greedy.read_until("\"content\":\""), HasSubstr("200 OK"));
  RawClient modest(server.port());
  ASSERT_TRUE(modest.send(chat("/v1/chat/completions", 2, true)));
  EXPECT_THAT(modest.read_until("data: [DONE]"), HasSubstr("\"finish_reason\":\"length\""));
  EXPECT_GE(metric(server.port(), "num_requests_running"), 1) << "the first is far from its end";

  const double steps = metric(server.port(), "engine_steps_total");
  greedy.reset();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (metric(server.port(), "num_requests_running") > 0 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
  }
  EXPECT_EQ(metric(server.port(), "num_requests_running"), 0);
  EXPECT_GE(steps, 3);
  EXPECT_LE(metric(server.port(), "engine_steps_total"), steps + 2) << "the step under way, and one for the network";
  EXPECT_LT(metric(server.port(), "generation_tokens_total"), 20);
}

TEST(SlowModel, SilenceIsFilledInTheQueueAndInAPrompt) {
  ServerProcess server({"--context", "1024", "--parallel", "1", "--step-delay", "250", "--keepalive", "1", "--chunk",
                        "32", "--draft", "off", "--threads", "1"});
  ASSERT_NE(server.port(), 0);
  RawClient first(server.port());
  ASSERT_TRUE(first.send(chat("/v1/chat/completions", 8, true)));
  EXPECT_THAT(first.read_until("\"role\""), HasSubstr("200 OK"));
  std::string text;
  for (int i = 0; i < 40; ++i) text += "The old king sleeps. ";
  RawClient second(server.port());
  ASSERT_TRUE(second.send(chat("/v1/chat/completions", 1, true, text)));
  const std::string queued = second.read_until(": keep-alive\n\n");
  EXPECT_THAT(queued, HasSubstr("text/event-stream"));
  EXPECT_THAT(queued, HasSubstr(": keep-alive"));
  EXPECT_THAT(queued, Not(HasSubstr("data:"))) << "it has no turn yet";
  EXPECT_THAT(first.read_until("data: [DONE]"), HasSubstr("[DONE]"));
  // Its role comes with its turn, its first token behind the prompt.
  EXPECT_THAT(second.read_until("\"role\""), HasSubstr("data:"));
  (void)second.read_until("\n\n");
  const std::string prompting = second.read_until(": keep-alive\n\n");
  EXPECT_THAT(prompting, HasSubstr(": keep-alive"));
  EXPECT_THAT(prompting, Not(HasSubstr("data:")));
  EXPECT_THAT(second.read_until("data: [DONE]"), HasSubstr("\"finish_reason\":\"length\""));
}

TEST(SlowModel, AfterTheDrainTimeAnswersAreEndedAndTheirClientsTold) {
  ServerProcess server(
      {"--context", "1024", "--parallel", "4", "--threads", "1", "--step-delay", "200", "--drain", "1"});
  ASSERT_NE(server.port(), 0);
  RawClient deepseek(server.port()), openai(server.port()), whole_deepseek(server.port()), whole_openai(server.port());
  ASSERT_TRUE(whole_deepseek.send(chat("/chat/completions", 900, false)));
  ASSERT_TRUE(whole_openai.send(chat("/v1/chat/completions", 900, false)));
  ASSERT_TRUE(deepseek.send(chat("/chat/completions", 900, true)));
  ASSERT_TRUE(openai.send(chat("/v1/chat/completions", 900, true)));
  EXPECT_THAT(deepseek.read_until("\"content\":\""), HasSubstr("200 OK"));
  EXPECT_THAT(openai.read_until("\"content\":\""), HasSubstr("200 OK"));
  server.signal(SIGTERM);

  const std::string rest = deepseek.read_until("data: [DONE]");
  EXPECT_THAT(rest, HasSubstr("\"content\":\"")) << "it went on until then";
  EXPECT_THAT(rest, HasSubstr("\"finish_reason\":\"insufficient_system_resource\""));
  const std::string broken = openai.read_to_end().value_or("");
  EXPECT_THAT(broken, HasSubstr("\"message\":\"The server is shutting down.\""));
  EXPECT_THAT(broken, HasSubstr("\"code\":\"server_overloaded\""));
  EXPECT_THAT(broken, Not(HasSubstr("[DONE]")));
  const RawAnswer cut = whole_deepseek.read_answer();
  EXPECT_EQ(cut.status, 200);
  EXPECT_THAT(cut.body, HasSubstr("\"finish_reason\":\"insufficient_system_resource\""));
  const RawAnswer refused = whole_openai.read_answer();
  EXPECT_EQ(refused.status, 503);
  EXPECT_THAT(refused.body, HasSubstr("\"code\":\"server_overloaded\""));
  EXPECT_EQ(refused.headers.count("retry-after"), 1U);
  EXPECT_EQ(server.wait(), 0);
}

}  // namespace
}  // namespace hadal::e2e
