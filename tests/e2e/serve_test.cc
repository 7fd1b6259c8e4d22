// The program as a server: how it begins, what it says when it cannot, and how it ends.

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "e2e/program.h"
#include "e2e/server_process.h"
#include "server/raw_client.h"
#include "testing/temp_directory.h"

namespace hadal::e2e {
namespace {

using nlohmann::ordered_json;
using server::http_request;
using server::RawAnswer;
using server::RawClient;
using ::testing::HasSubstr;

ordered_json chat(int max_tokens) {
  return {{"model", "hadal-nano"},
          {"messages", {{{"role", "user"}, {"content", "Tell me a story about a dog."}}}},
          {"thinking", {{"type", "disabled"}}},
          {"ignore_eos", true},
          {"max_tokens", max_tokens},
          {"temperature", 0}};
}

RawAnswer post(std::uint16_t port, const ordered_json& body) {
  RawClient client(port);
  client.send(http_request("POST", "/v1/chat/completions", body.dump()));
  return client.read_answer();
}

// Check 194.
TEST(Serve, EndsWhenItsStreamsHaveEnded) {
  ServerProcess server({"--context", "1024", "--parallel", "2", "--step-delay", "10"});
  ASSERT_NE(server.port(), 0);
  ordered_json request = chat(60);
  request["stream"] = true;
  RawClient stream(server.port());
  stream.send(http_request("POST", "/v1/chat/completions", request.dump()));
  EXPECT_THAT(stream.read_until("\"role\""), HasSubstr("text/event-stream"));
  server.signal(SIGTERM);
  // Until the server has seen the signal it may take a request; a short one.
  RawAnswer refused;
  do refused = post(server.port(), chat(1));
  while (refused.status == 200);
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.headers.count("retry-after"), 1U);
  EXPECT_THAT(stream.read_until("data: [DONE]"), HasSubstr("\"completion_tokens\":60"));
  EXPECT_EQ(server.wait(), 0);
}

TEST(Serve, ASecondSignalEndsItAtOnce) {
  ServerProcess server({"--context", "1024", "--parallel", "2", "--step-delay", "500"});
  ASSERT_NE(server.port(), 0);
  ordered_json request = chat(900);
  request["stream"] = true;
  RawClient stream(server.port());
  stream.send(http_request("POST", "/v1/chat/completions", request.dump()));
  (void)stream.read_until("\"role\"");
  server.signal(SIGTERM);
  while (post(server.port(), {{"model", 1}}).status != 503) {
  }
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 128 + SIGTERM);
}

TEST(Serve, AnswersEqualAcrossRestartsAndKills) {
  const testing_support::TempDirectory temp;
  ordered_json request = chat(20);
  std::string system;
  for (int i = 0; i < 60; ++i) system += "You tell kind stories. ";
  request["messages"].insert(request["messages"].begin(), ordered_json({{"role", "system"}, {"content", system}}));
  std::string expected;
  for (int start = 0; start < 3; ++start) {
    ServerProcess server({"--context", "2048", "--parallel", "2", "--cache-dir", (temp / "cache").string()});
    ASSERT_NE(server.port(), 0);
    for (int again = 0; again < 2; ++again) {
      const RawAnswer answer = post(server.port(), request);
      ASSERT_EQ(answer.status, 200) << answer.body;
      const ordered_json body = ordered_json::parse(answer.body);
      const std::string text = body["choices"][0]["message"]["content"];
      if (expected.empty()) expected = text;
      EXPECT_EQ(text, expected) << "start " << start << ", request " << again;
      if (start + again > 0) {
        EXPECT_GE(body["usage"]["prompt_cache_hit_tokens"].get<int>(), 128);
      }
    }
    if (start == 0) {
      server.signal(SIGKILL);
      EXPECT_EQ(server.wait(), 128 + SIGKILL);
    } else {
      server.signal(SIGINT);
      EXPECT_EQ(server.wait(), 0);
    }
  }
}

// Check 150 with nano, whose tokenizer has no tokens for it.
TEST(Serve, RefusesToFillTheMiddleWithNano) {
  ServerProcess server({"--context", "256", "--parallel", "1"});
  ASSERT_NE(server.port(), 0);
  for (const auto& [path, code] :
       {std::pair("/beta/completions", "invalid_request_error"), std::pair("/v1/completions", "invalid_value")}) {
    const ordered_json body = {{"model", "hadal-nano"}, {"prompt", "def f("}, {"suffix", "return a"}};
    RawClient client(server.port());
    client.send(http_request("POST", path, body.dump()));
    const RawAnswer answer = client.read_answer();
    EXPECT_EQ(answer.status, 400);
    EXPECT_EQ(answer.body,
              fmt::format(R"({{"error":{{"message":"suffix: the model hadal-nano has no tokens for filling in the )"
                          R"(middle","type":"invalid_request_error","param":"suffix","code":"{}"}}}})",
                          code));
  }
}

struct Refusal {
  std::vector<std::string> arguments;
  int exit_code = 0;
  std::string message;
};

TEST(Serve, SaysWhyItCannotBegin) {
  const testing_support::TempDirectory temp;
  std::ofstream(temp / "script") << "\"fine\"\n{\"a\": 1}\n";
  ServerProcess other({"--context", "256", "--parallel", "1"});
  ASSERT_NE(other.port(), 0);
  for (const Refusal& refusal : {
           Refusal{{"--port", std::to_string(other.port())},
                   7,
                   fmt::format("127.0.0.1 port {}: Address already in use", other.port())},
           Refusal{{"--host", "0.0.0.0"}, 2, "without keys"},
           Refusal{{"--host", "nowhere", "--no-auth"}, 2, "nowhere"},
           Refusal{{"--keys", (temp / "none").string()}, 3, "none"},
           Refusal{{"--script", (temp / "script").string()}, 2, "script:2"},
           Refusal{{"--state-memory", "much"}, 2, "much"},
           Refusal{{"--cache-dir", "/dev/null/cache"}, 7, "/dev/null/cache"},
           Refusal{{"--accept-any-model", "gpt"}, 2, "gpt"},
           Refusal{{"/nonexistent"}, 3, "/nonexistent"},
       }) {
    std::vector<std::string> words = {"serve", "--context", "256", "--parallel", "1"};
    if (refusal.arguments.front() != "--port") words.insert(words.end(), {"--port", "0"});
    words.insert(words.end(), refusal.arguments.begin(), refusal.arguments.end());
    const Finished finished = run_hadal(words);
    EXPECT_EQ(finished.exit_code, refusal.exit_code) << refusal.arguments.front() << ": " << finished.err;
    EXPECT_THAT(finished.err, HasSubstr(refusal.message));
  }
}

}  // namespace
}  // namespace hadal::e2e
