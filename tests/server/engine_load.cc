#include "server/engine_load.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "server/api_rig.h"
#include "server/keys.h"
#include "server/raw_client.h"
#include "server/test_server.h"

namespace hadal::server {
namespace {

using hadal::testing::ApiRig;
using nlohmann::ordered_json;

constexpr int kClients = 8;   // twice as many as sequences, so that some always wait
constexpr int kVariants = 6;  // of requests that are asked again and again
constexpr const char* kChat = "/v1/chat/completions";

/// A short chat; the same text and tokens for the same variant.
ordered_json chat(int variant, bool stream) {
  return {{"model", "tiny"},
          {"messages", {{{"role", "user"}, {"content", std::string(static_cast<std::size_t>(8 + 9 * variant), 'a')}}}},
          {"thinking", {{"type", "disabled"}}},
          {"max_tokens", 3 + 2 * variant},
          {"ignore_eos", true},
          {"seed", variant},
          {"stream", stream}};
}

/// A request that nobody else sends, with a prompt of several steps.
ordered_json long_prompt(std::uint64_t number) {
  return {{"model", "tiny"},
          {"prompt", fmt::format("{} {}", number, std::string(500, 'b'))},
          {"max_tokens", 4},
          {"stream", number % 2 == 0}};
}

/// Requests that the server has seen the end of, and among them those given up while the engine had them.
struct Endings {
  std::atomic<std::int64_t> all = 0, in_queue = 0, in_prompt = 0, in_answer = 0;

  void count(const RequestRecord& record) {
    ++all;
    if (record.notes.finish != "abort") return;
    if (record.notes.first_token_seconds >= 0) {
      ++in_answer;
    } else {
      ++(record.notes.queue_seconds > 0 ? in_prompt : in_queue);
    }
  }
};

/// The real thing behind a listener of its own.
struct EngineServer {
  ApiRig rig{{}};
  std::unique_ptr<Keys> keys = Keys::for_everyone({});
  Endings endings;
  std::unique_ptr<HttpServer> http;

  EngineServer() {
    rig.context->keys = keys.get();
    HttpHooks hooks{.gate = make_gate(*rig.context),
                    .on_ended = [this](const RequestRecord& record) { endings.count(record); }};
    auto started = HttpServer::start(loopback_options(), std::move(rig.routes), std::move(hooks));
    EXPECT_TRUE(started) << started.error().message;
    http = std::move(*started);
  }
};

/// Content of a whole answer, or nothing after a failed expectation.
std::optional<std::string> content(const RawAnswer& answer) {
  EXPECT_EQ(answer.status, 200) << answer.body;
  EXPECT_TRUE(answer.whole);
  const ordered_json body = ordered_json::parse(answer.body, nullptr, false);
  EXPECT_TRUE(body.contains("choices")) << answer.body;
  if (!body.contains("choices")) return std::nullopt;
  return body["choices"][0]["message"]["content"];
}

/// The same of a streamed one.
std::string streamed_content(const RawAnswer& answer) {
  EXPECT_EQ(answer.status, 200) << answer.body;
  EXPECT_TRUE(answer.whole);
  EXPECT_TRUE(answer.body.ends_with("data: [DONE]\n\n")) << answer.body;
  std::string made;
  for (std::size_t at = 0; (at = answer.body.find("data: {", at)) != std::string::npos; ++at) {
    const ordered_json chunk = ordered_json::parse(answer.body.substr(at + 6, answer.body.find('\n', at) - at - 6));
    for (const ordered_json& choice : chunk["choices"]) made += choice["delta"].value("content", "");
  }
  return made;
}

/// One client's requests, each with an end of its own.
class Client {
 public:
  Client(const HttpServer& server, const std::vector<std::string>& expected, std::uint32_t seed)
      : port_(server.port()), expected_(expected), random_(seed) {}

  void ask() {
    RawClient client(port_);
    ASSERT_TRUE(client.connected());
    const int variant = static_cast<int>(random_() % kVariants);
    const bool stream = random_() % 2 == 0;
    const bool is_long = random_() % 25 == 0;
    const std::string request = is_long ? http_request("POST", "/v1/completions", long_prompt(random_()).dump())
                                        : http_request("POST", kChat, chat(variant, stream).dump());
    switch (random_() % 6) {
      case 0:  // within the request
        static_cast<void>(client.send(request.substr(0, random_() % request.size())));
        return client.reset();
      case 1:  // before any answer
        static_cast<void>(client.send(request));
        return client.reset();
      case 2:  // at any moment: in the queue, in the prompt, in the answer
        static_cast<void>(client.send(request));
        std::this_thread::sleep_for(std::chrono::microseconds(random_() % 8000));
        return random_() % 2 == 0 ? client.reset() : client.finish();
      case 3:  // behind some tokens
        static_cast<void>(client.send(request));
        static_cast<void>(client.read_until("\r\n\r\n"));
        for (std::uint64_t events = stream && !is_long ? random_() % 4 : 0; events > 0; --events) {
          static_cast<void>(client.read_until("\n\n"));
        }
        return client.reset();
      default:
        ASSERT_TRUE(client.send(request));
        const RawAnswer answer = client.read_answer();
        EXPECT_EQ(answer.status, 200) << answer.body;
        if (!is_long) compare(answer, stream, variant);
    }
  }

 private:
  void compare(const RawAnswer& answer, bool stream, int variant) const {
    const auto got = stream ? streamed_content(answer) : content(answer);
    EXPECT_EQ(got, expected_[static_cast<std::size_t>(variant)]) << "variant " << variant << ", stream " << stream;
  }

  std::uint16_t port_;
  const std::vector<std::string>& expected_;
  std::mt19937 random_;
};

/// False: the engine still had work after half a minute.
bool wait_for_an_idle_engine(const engine::Service& service) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (std::chrono::steady_clock::now() < deadline) {
    const engine::ServiceFigures figures = service.figures();
    if (figures.running + figures.waiting + figures.put_away == 0) return true;
    std::this_thread::yield();
  }
  return false;
}

/// Nobody holds a place of those that the limiter gives out at a time.
bool no_lease_is_out(ApiRig& rig) {
  const RateSubject only_one{.id = "local", .limits = {.concurrent = 1}};
  return rig.limiter.begin(only_one, only_one, Clock::now()).has_value();
}

}  // namespace

void expect_nothing_left_behind(int requests) {
  EngineServer server;
  ASSERT_NE(server.http, nullptr);
  std::vector<std::string> expected;
  for (int variant = 0; variant < kVariants; ++variant) {
    RawClient client(server.http->port());
    ASSERT_TRUE(client.send(http_request("POST", kChat, chat(variant, false).dump())));
    expected.push_back(content(client.read_answer()).value_or(""));
  }
  ASSERT_TRUE(wait_for_no_connections(*server.http));
  const std::ptrdiff_t descriptors = open_descriptors();
  const std::int64_t before = server.endings.all;
  {
    std::vector<std::jthread> clients;
    clients.reserve(kClients);
    for (std::uint32_t seed = 0; seed < kClients; ++seed) {
      clients.emplace_back([&server, &expected, seed, requests] {
        Client client(*server.http, expected, seed);
        for (int i = 0; i < requests / kClients; ++i) client.ask();
      });
    }
  }
  ASSERT_TRUE(wait_for_no_connections(*server.http));
  engine::Service& service = *server.rig.service;
  ASSERT_TRUE(wait_for_an_idle_engine(service));
  EXPECT_EQ(server.http->figures().requests, 0);
  EXPECT_EQ(open_descriptors(), descriptors);
  EXPECT_TRUE(no_lease_is_out(server.rig));
  // Half of the ends come behind the head of a request, and most of the others reach the server as well.
  EXPECT_GT(server.endings.all - before, requests / 2);
  EXPECT_GT(server.endings.in_queue + server.endings.in_prompt, 0);
  EXPECT_GT(server.endings.in_answer, 0);
  ::testing::Test::RecordProperty(
      "given_up", fmt::format("{} in the queue, {} in the prompt, {} in the answer", server.endings.in_queue.load(),
                              server.endings.in_prompt.load(), server.endings.in_answer.load()));
  const engine::ServiceFigures figures = service.figures();
  EXPECT_EQ(figures.free_slots, figures.slots);
  EXPECT_EQ(figures.pages - figures.free_pages, figures.cache.held_pages) << "all others belong to nobody";
  EXPECT_EQ(figures.cache.pages_different, 0);
  EXPECT_GT(figures.answer_tokens, 0);

  RawClient last(server.http->port());
  ASSERT_TRUE(last.send(http_request("POST", kChat, chat(0, false).dump())));
  EXPECT_EQ(content(last.read_answer()), expected[0]);
  server.http->stop();
  server.rig.service.reset();
  server.rig.cache.reset();
  const model::StatePool& pool = *server.rig.engine_rig->pool;
  EXPECT_EQ(pool.free_pages(), pool.max_pages());
  EXPECT_EQ(pool.free_slots(), pool.max_sequences());
}

}  // namespace hadal::server
