// The program as a server: how it begins, what it says when it cannot, and how it ends.

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

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

RawAnswer get(std::uint16_t port, const std::string& path) {
  RawClient client(port);
  client.send(http_request("GET", path));
  return client.read_answer();
}

/// Makes a file that nobody reads until let_through(): it holds up a server that reads it while it loads.
void make_barrier(const std::filesystem::path& path) {
  std::filesystem::remove(path);
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0) << path;
}
void let_through(const std::filesystem::path& path) { ::close(::open(path.c_str(), O_WRONLY | O_CLOEXEC)); }

// Check 2.
TEST(Serve, AnswersThatItsModelIsBeingLoaded) {
  const testing_support::TempDirectory temp;
  const std::vector<std::string> arguments = {"--context", "256",         "--parallel",
                                              "1",         "--cache-dir", temp.path().string()};
  {
    ServerProcess server(arguments);  // makes the model's folder
    ASSERT_NE(server.port(), 0);
    server.signal(SIGTERM);
    ASSERT_EQ(server.wait(), 0);
  }
  const auto folder = std::filesystem::directory_iterator(temp.path())->path();
  make_barrier(folder / "turns");
  ServerProcess server(arguments, ServerProcess::Until::kListening);
  ASSERT_NE(server.port(), 0);
  for (const char* path : {"/ready", "/health"}) {
    const RawAnswer answer = get(server.port(), path);
    EXPECT_EQ(answer.status, 503) << path;
    EXPECT_EQ(answer.body, R"({"error":{"code":503,"message":"Loading model","type":"unavailable_error"}})") << path;
    EXPECT_EQ(answer.headers.count("retry-after"), 1U) << path;
  }
  EXPECT_EQ(get(server.port(), "/version").status, 200);
  const RawAnswer early = post(server.port(), chat(1));
  EXPECT_EQ(early.status, 503);
  EXPECT_EQ(early.headers.count("retry-after"), 1U);
  EXPECT_EQ(ordered_json::parse(early.body)["error"]["message"], "the model is being loaded");
  EXPECT_EQ(get(server.port(), "/v1/models").status, 503);
  EXPECT_THAT(get(server.port(), "/metrics").body,
              HasSubstr(R"(endpoint="/v1/chat/completions",family="openai"} 1)"));  // requests count already

  let_through(folder / "turns");
  while (get(server.port(), "/ready").status != 200) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(get(server.port(), "/health").status, 200);
  EXPECT_EQ(post(server.port(), chat(1)).status, 200);
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0);
}

TEST(Serve, EndsWhileItsModelIsBeingLoaded) {
  const testing_support::TempDirectory temp;
  const auto script = temp / "script";
  make_barrier(script);
  const std::vector<std::string> arguments = {"--context", "256", "--parallel", "1", "--script", script.string()};
  ServerProcess told(arguments, ServerProcess::Until::kListening);
  ASSERT_NE(told.port(), 0);
  EXPECT_EQ(get(told.port(), "/ready").status, 503);
  told.signal(SIGTERM);
  EXPECT_EQ(told.wait(), 0) << "nothing was let through: it did not wait for the loading";

  ServerProcess failing(arguments, ServerProcess::Until::kListening);
  ASSERT_NE(failing.port(), 0);
  let_through(script);
  EXPECT_EQ(failing.wait(), 2);
  EXPECT_THAT(failing.read_line(), HasSubstr("script"));
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

/// A stream that has begun, of the one client whose key stands in `keys`, which is revoked then.
class RevokedStream {
 public:
  RevokedStream(const std::filesystem::path& keys, std::vector<std::string> arguments) {
    std::string key = run_hadal({"keys", "add", "alice", "--keys", keys.string()}).out;
    key.pop_back();  // the line feed
    bearer_ = "authorization: Bearer " + key + "\r\n";
    arguments.insert(arguments.end(),
                     {"--context", "1024", "--parallel", "2", "--step-delay", "50", "--keys", keys.string()});
    server.emplace(arguments);
    stream.emplace(server->port());
    ordered_json request = chat(80);  // four seconds
    request["stream"] = true;
    stream->send(http_request("POST", "/v1/chat/completions", request.dump(), bearer_));
    EXPECT_THAT(stream->read_until("\"role\""), HasSubstr("200 OK"));
    EXPECT_EQ(run_hadal({"keys", "revoke", "alice", "--keys", keys.string()}).exit_code, 0);
  }
  /// Waits until the key is refused; false: it was not for much longer than that should take.
  bool is_refused_soon() const {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (std::chrono::steady_clock::now() < deadline) {
      RawClient client(server->port());
      client.send(http_request("GET", "/v1/models", {}, bearer_));
      if (client.read_answer().status == 401) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return false;
  }

  std::optional<ServerProcess> server;
  std::optional<RawClient> stream;

 private:
  std::string bearer_;
};

// Check 31.
TEST(Serve, ARevokedKeyIsRefusedAndWhatRunsGoesOn) {
  const testing_support::TempDirectory temp;
  RevokedStream revoked(temp / "keys.json", {});
  EXPECT_TRUE(revoked.is_refused_soon());
  EXPECT_THAT(revoked.stream->read_until("data: [DONE]"), HasSubstr("\"completion_tokens\":80"));
}

TEST(Serve, ARevokedKeyEndsWhatRunsWhereThatIsAskedFor) {
  const testing_support::TempDirectory temp;
  RevokedStream revoked(temp / "keys.json", {"--revoke-aborts"});
  EXPECT_TRUE(revoked.is_refused_soon());
  const std::string rest = revoked.stream->read_until("\r\n0\r\n\r\n");  // the last chunk
  EXPECT_THAT(rest, HasSubstr("invalid_api_key"));
  EXPECT_THAT(rest, ::testing::Not(HasSubstr("[DONE]")));
}

// Check 195, and what `logrotate` does.
TEST(Serve, WritesTextsOnlyWhereAskedAndNewLogsAfterSighup) {
  const testing_support::TempDirectory temp;
  ServerProcess server({"--context", "1024", "--parallel", "1", "--access-log", (temp / "access").string(),
                        "--log-content", (temp / "content").string()});
  ASSERT_NE(server.port(), 0);
  ASSERT_EQ(post(server.port(), chat(3)).status, 200);
  // The line is written behind the answer.
  while (testing_support::read_text(temp / "access").empty()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  std::filesystem::rename(temp / "access", temp / "access.1");
  server.signal(SIGHUP);
  while (!std::filesystem::exists(temp / "access")) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  ASSERT_EQ(post(server.port(), chat(4)).status, 200);
  server.signal(SIGTERM);
  ASSERT_EQ(server.wait(), 0);
  const std::string before = testing_support::read_text(temp / "access.1");
  const std::string after = testing_support::read_text(temp / "access");
  EXPECT_EQ(ordered_json::parse(before)["completion_tokens"], 3);
  EXPECT_EQ(ordered_json::parse(after)["completion_tokens"], 4);
  EXPECT_THAT(before + after, ::testing::Not(HasSubstr("story")));
  const std::string content = testing_support::read_text(temp / "content");
  EXPECT_THAT(ordered_json::parse(content.substr(0, content.find('\n')))["prompts"][0].get<std::string>(),
              HasSubstr("Tell me a story about a dog."));
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
