#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <string>
#include <thread>
#include <vector>

#include "server/raw_client.h"
#include "server/test_server.h"

namespace hadal::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;
using Ending = RequestRecord::Ending;

constexpr std::string_view kChat = "/v1/chat/completions";

std::chrono::steady_clock::time_point soon(int limit_seconds = 30) {
  return std::chrono::steady_clock::now() + seconds(limit_seconds);
}

/// A client with a request that the test answers.
struct Conversation {
  explicit Conversation(TestServer& server, std::string_view path = kChat) : client(server.port()) {
    EXPECT_TRUE(client.send(http_request("POST", path, "{}")));
    if (auto held = server.held.take()) answer = std::move(held->answer);
  }

  /// Resolves once the handler is told that the client has left.
  std::future<void> gone() {
    const auto told = std::make_shared<std::promise<void>>();
    answer->watch({.gone = [told] { told->set_value(); }});
    return told->get_future();
  }

  RawClient client;
  std::shared_ptr<ResponseStream> answer;
};

bool resolves(std::future<void> future) { return future.wait_for(seconds(30)) == std::future_status::ready; }

TEST(HttpStream, SendsEachPieceAtOnce) {
  TestServer server;
  Conversation chat(server);
  chat.answer->begin(event_stream(), "");
  chat.answer->write("data: 1\n\n");
  EXPECT_THAT(chat.client.read_until("data: 1\n\n"), HasSubstr("transfer-encoding: chunked\r\n"));
  chat.answer->write("data: 2\n\n");
  EXPECT_EQ(chat.client.read_until("data: 2\n\n"), "\r\n9\r\ndata: 2\n\n");
  chat.answer->finish();
  EXPECT_EQ(chat.client.read_until("0\r\n\r\n"), "\r\n0\r\n\r\n");
  chat.answer->note([](RequestNotes& notes) { notes.finish = "stop"; });
  chat.answer.reset();
  const auto record = server.records.take();
  ASSERT_TRUE(record);
  EXPECT_EQ(record->ending, Ending::kComplete);
  EXPECT_EQ(record->status, 200);
  EXPECT_EQ(record->route, kChat);
  EXPECT_EQ(record->notes.finish, "stop") << "noted after the answer";
}

TEST(HttpStream, Check24AnswersARequestBehindAStreamAfterIt) {
  TestServer server;
  Conversation chat(server);
  ASSERT_TRUE(chat.client.send(http_request("GET", "/health") + http_request("POST", kChat, "{}")));
  chat.answer->begin(event_stream(), "");
  chat.answer->write("data: x\n\n");
  chat.answer->finish();
  const RawAnswer stream = chat.client.read_answer();
  EXPECT_TRUE(stream.whole);
  EXPECT_EQ(stream.body, "data: x\n\n");
  EXPECT_EQ(chat.client.read_answer().body, R"({"status":"ok"})");
  auto next = server.held.take();
  ASSERT_TRUE(next);
  next->answer->respond(json("last"));
  EXPECT_EQ(chat.client.read_answer().body, "last");
}

TEST(HttpStream, ReadsNoFurtherThanSixteenRequestsBehindAnAnswer) {
  for (const int waiting : {15, 16}) {
    TestServer server;
    Conversation chat(server);
    chat.answer->begin(event_stream(), "");
    auto told = chat.gone();
    std::string requests;
    for (int i = 0; i < waiting; ++i) requests += http_request("GET", "/health");
    ASSERT_TRUE(chat.client.send(requests));
    chat.client.finish();
    if (waiting < 16) {
      EXPECT_TRUE(resolves(std::move(told))) << "the end of the client's side is seen";
      continue;
    }
    EXPECT_EQ(told.wait_for(milliseconds(200)), std::future_status::timeout) << "the end was not read yet";
    chat.answer->finish();
    EXPECT_TRUE(chat.client.read_answer().whole);
    for (int i = 0; i < waiting; ++i) EXPECT_EQ(chat.client.read_answer().body, R"({"status":"ok"})") << i;
  }
}

TEST(HttpStream, Check103SendsTheIdleTextWhileNothingIsWritten) {
  HttpOptions options = loopback_options();
  options.idle_time = milliseconds(20);
  TestServer server(options);
  Conversation chat(server);
  chat.answer->begin(event_stream(), ": keep-alive\n\n");
  EXPECT_TRUE(chat.client.read_until("\r\n\r\n").starts_with("HTTP/1.1 200 OK\r\n"));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(chat.client.read_until(": keep-alive\n\n\r\n"), "e\r\n: keep-alive\n\n\r\n");
  chat.answer->write("data: x\n\n");
  EXPECT_THAT(chat.client.read_until("data: x\n\n"), HasSubstr("9\r\ndata: x\n\n"));
}

TEST(HttpStream, Check104KeepsASlowWholeAnswerAlive) {
  HttpOptions options = loopback_options();
  options.idle_time = milliseconds(20);
  TestServer server(options);
  Conversation chat(server);
  chat.answer->expect(json(""));
  EXPECT_THAT(chat.client.read_until("\r\n\r\n"), HasSubstr("content-type: application/json\r\n"));
  EXPECT_EQ(chat.client.read_until("\n\r\n1\r\n\n\r\n"), "1\r\n\n\r\n1\r\n\n\r\n");
  chat.answer->respond(json("{}"));
  EXPECT_THAT(chat.client.read_until("0\r\n\r\n"), HasSubstr("2\r\n{}\r\n0\r\n\r\n"));
}

TEST(HttpStream, EndsWithoutTheLastChunkWhenAnAnswerBreaksOff) {
  TestServer server;
  Conversation chat(server);
  chat.answer->begin(event_stream(), "");
  chat.answer->write("data: x\n\n");
  chat.answer.reset();  // as a handler does that loses it
  const RawAnswer answer = chat.client.read_answer();
  EXPECT_EQ(answer.body, "data: x\n\n");
  EXPECT_FALSE(answer.whole);
  EXPECT_EQ(chat.client.read_to_end(), "");
  EXPECT_EQ(server.records.take()->ending, Ending::kBrokenOff);
}

TEST(HttpStream, ResetsAConnectionOfHttp10WhenAnAnswerBreaksOff) {
  TestServer server;
  RawClient client(server.port());
  ASSERT_TRUE(
      client.send("POST /v1/chat/completions HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: "
                  "2\r\n\r\n{}"));
  auto held = server.held.take();
  ASSERT_TRUE(held);
  held->answer->begin(event_stream(), "");
  held->answer->write("data: x\n\n");
  EXPECT_TRUE(client.read_until("data: x\n\n").ends_with("data: x\n\n"));
  held->answer->abort();
  EXPECT_EQ(client.read_to_end(), "");
  EXPECT_TRUE(client.was_reset());
}

TEST(HttpStream, Check106TellsTheHandlerOfAStreamThatTheClientHasClosed) {
  TestServer server;
  Conversation chat(server);
  chat.answer->begin(event_stream(), "");
  chat.answer->write("data: x\n\n");
  static_cast<void>(chat.client.read_until("data: x\n\n"));
  auto told = chat.gone();
  chat.client.reset();
  EXPECT_TRUE(resolves(std::move(told)));
  chat.answer->write("nobody reads this");
  chat.answer->note([](RequestNotes& notes) { notes.answer_tokens = 5; });
  chat.answer.reset();
  const auto record = server.records.take();
  ASSERT_TRUE(record);
  EXPECT_EQ(record->ending, Ending::kClientLeft);
  EXPECT_GT(record->answer_bytes, 0);
  EXPECT_EQ(record->notes.answer_tokens, 5);
}

TEST(HttpStream, Check107TellsTheHandlerOfAWaitingClientThatItHasEnded) {
  TestServer server;
  Conversation chat(server);
  auto told = chat.gone();
  chat.client.finish();  // its side only
  EXPECT_TRUE(resolves(std::move(told)));
  EXPECT_TRUE(chat.answer->gone());
  EXPECT_EQ(chat.client.read_to_end(), "");
  chat.answer.reset();
  const auto record = server.records.take();
  ASSERT_TRUE(record);
  EXPECT_EQ(record->status, 0);
  EXPECT_EQ(record->ending, Ending::kClientLeft);
  EXPECT_TRUE(server.server->wait_until_idle(std::chrono::steady_clock::now() + std::chrono::seconds(30)));
}

TEST(HttpStream, Check108GivesUpAClientThatDoesNotReadAndNoOther) {
  HttpOptions options = loopback_options();
  options.write_time = milliseconds(200);
  options.answer_buffer = 100'000;
  TestServer server(options);
  Conversation stalled(server);
  Conversation other(server);
  auto told = stalled.gone();
  stalled.answer->begin(event_stream(), "");
  other.answer->begin(event_stream(), "");
  const std::string piece(50'000, 'x');
  while (!stalled.answer->gone()) {
    if (stalled.answer->ready()) stalled.answer->write(piece);
    other.answer->write("data: y\n\n");
    EXPECT_THAT(other.client.read_until("data: y\n\n"), HasSubstr("data: y\n\n"));
  }
  EXPECT_TRUE(resolves(std::move(told)));
  stalled.answer.reset();
  EXPECT_EQ(server.records.take()->ending, Ending::kClientStalled);
  EXPECT_EQ(server.server->figures().stalls, 1);
  other.answer->finish();
  EXPECT_EQ(other.client.read_until("0\r\n\r\n"), "\r\n0\r\n\r\n");
}

TEST(HttpStream, IsReadyAgainWhenASlowClientReadsOn) {
  HttpOptions options = loopback_options();
  options.answer_buffer = 100'000;
  TestServer server(options);
  Conversation chat(server);
  Waiting<bool> ready;
  chat.answer->watch({.ready = [&] { ready.put(true); }});
  chat.answer->begin(event_stream(), "");
  std::string sent;
  for (char letter = 'a'; chat.answer->ready(); letter = letter == 'z' ? 'a' : static_cast<char>(letter + 1)) {
    sent += std::string(50'000, letter);
    chat.answer->write(std::string(50'000, letter));
    if (sent.size() > 50'000'000) FAIL() << "the kernel takes all";
  }
  std::jthread reader([&] {
    if (ready.take()) chat.answer->finish();
  });
  const RawAnswer answer = chat.client.read_answer();
  EXPECT_TRUE(answer.whole);
  EXPECT_EQ(answer.body.size(), sent.size());
  EXPECT_TRUE(answer.body == sent);
}

TEST(HttpStream, WritesOfManyThreadsReachTheirOwnClients) {
  TestServer server;
  constexpr int kClients = 8;
  std::vector<std::jthread> clients;
  clients.reserve(kClients);
  std::vector<std::string> bodies(kClients);
  for (int i = 0; i < kClients; ++i) {
    clients.emplace_back([&, i] {
      RawClient client(server.port());
      if (client.send(http_request("POST", kChat, fmt::to_string(i)))) {
        bodies[static_cast<std::size_t>(i)] = client.read_answer().body;
      }
    });
  }
  {
    std::vector<std::jthread> writers;
    for (int i = 0; i < kClients; ++i) {
      auto held = server.held.take();
      ASSERT_TRUE(held);
      writers.emplace_back([chat = std::move(*held)] {
        chat.answer->begin(event_stream(), "");
        for (int piece = 0; piece < 100; ++piece) chat.answer->write(chat.request.body);
        chat.answer->finish();
      });
    }
  }
  clients.clear();
  for (int i = 0; i < kClients; ++i) {
    EXPECT_EQ(bodies[static_cast<std::size_t>(i)], std::string(100, static_cast<char>('0' + i)));
  }
}

TEST(HttpStream, Check194FinishesWhatRunsWhileItDrains) {
  TestServer server;
  Conversation chat(server);
  chat.answer->begin(event_stream(), "");
  server.server->begin_drain();
  RawClient client(server.port());
  ASSERT_TRUE(client.send(http_request("POST", kChat, "{}")));
  const RawAnswer refused = client.read_answer();
  EXPECT_EQ(refused.status, 503);
  EXPECT_THAT(refused.body, HasSubstr("server_overloaded"));
  EXPECT_TRUE(refused.headers.contains("retry-after"));
  EXPECT_EQ(refused.headers.at("connection"), "close");
  RawClient probe(server.port());
  ASSERT_TRUE(probe.send(http_request("GET", "/health")));
  EXPECT_EQ(probe.read_answer().status, 200);
  EXPECT_FALSE(server.server->wait_until_idle(std::chrono::steady_clock::now()));
  chat.answer->write("data: [DONE]\n\n");
  chat.answer->finish();
  EXPECT_EQ(chat.client.read_answer().body, "data: [DONE]\n\n");
  EXPECT_TRUE(server.server->wait_until_idle(soon()));
}

TEST(HttpStream, Check2CallsNoHandlerOfTheModelBeforeItServes) {
  HttpOptions options = loopback_options();
  options.phase = ServingPhase::kLoading;
  TestServer server(std::move(options));
  RawClient client(server.port());
  for (const char* path : {"/v1/chat/completions", "/chat/completions"}) {
    ASSERT_TRUE(client.send(http_request("POST", path, "{}")));
    const RawAnswer refused = client.read_answer();
    EXPECT_EQ(refused.status, 503) << path;
    EXPECT_TRUE(refused.headers.contains("retry-after")) << path;
    EXPECT_THAT(refused.body, HasSubstr("the model is being loaded")) << path;
    EXPECT_EQ(server.records.take()->refusal, "loading") << path;
  }
  ASSERT_TRUE(client.send(http_request("GET", "/health")));
  EXPECT_EQ(client.read_answer().status, 200) << "the connection goes on";
  server.server->begin_serving();
  ASSERT_TRUE(client.send(http_request("GET", "/v1/models")));
  EXPECT_EQ(client.read_answer().body, "[]");
}

TEST(HttpStream, AStreamOutlivesItsServer) {
  std::shared_ptr<ResponseStream> answer;
  auto server = std::make_unique<TestServer>();
  Conversation chat(*server);
  answer = chat.answer;
  answer->begin(event_stream(), "");
  auto told = chat.gone();
  server->server->stop();
  EXPECT_TRUE(resolves(std::move(told)));
  server.reset();
  answer->write("late");
  answer->finish();
  EXPECT_TRUE(answer->gone());
}

}  // namespace
}  // namespace hadal::server
