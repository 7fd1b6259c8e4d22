#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "server/raw_client.h"
#include "server/test_server.h"

namespace hadal::server {
namespace {

constexpr std::string_view kChat = "/v1/chat/completions";

/// Both ends of every connection are in this process.
bool raise_descriptor_limit(rlim_t wanted) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_max < wanted) return false;
  limit.rlim_cur = std::max(limit.rlim_cur, wanted);
  return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

/// Answers held requests with a stream of `pieces` pieces, until the server says that it is over.
class Answerer {
 public:
  Answerer(TestServer& server, int pieces)
      : server_(server), thread_([this, pieces](const std::stop_token& stop) {
          while (auto held = server_.held.take()) {
            if (stop.stop_requested()) return;
            held->answer->begin(event_stream(), "");
            for (int piece = 0; piece < pieces; ++piece) held->answer->write("data: x\n\n");
            held->answer->finish();
          }
        }) {}
  Answerer(const Answerer&) = delete;
  Answerer& operator=(const Answerer&) = delete;
  ~Answerer() {
    thread_.request_stop();
    server_.held.put({});
  }

 private:
  TestServer& server_;
  std::jthread thread_;
};

TEST(HttpLoad, AnswersOthersBesideAThousandIdleAndTwoHundredSlowClients) {
  if (!raise_descriptor_limit(4096)) GTEST_SKIP() << "this needs 4,096 descriptors";
  HttpOptions options = loopback_options();
  options.connections_per_address = 2000;
  const TestServer server(options);
  std::vector<RawClient> idle;
  idle.reserve(1000);
  for (int i = 0; i < 1000; ++i) {
    idle.emplace_back(server.port());
    ASSERT_TRUE(idle.back().connected());
  }
  std::vector<RawClient> slow;
  slow.reserve(200);
  for (int i = 0; i < 200; ++i) slow.emplace_back(server.port());
  const std::string request = http_request("POST", "/v1/echo", R"({"slow":true})");
  for (std::size_t at = 0; at < request.size(); at += 10) {
    for (RawClient& client : slow) ASSERT_TRUE(client.send(request.substr(at, 10)));
    RawClient other(server.port());
    ASSERT_TRUE(other.send(http_request("POST", "/v1/echo", "1")));
    EXPECT_EQ(other.read_answer().body, "1");
  }
  for (RawClient& client : slow) EXPECT_EQ(client.read_answer().body, R"({"slow":true})");
  EXPECT_GE(server.server->figures().connections, 1200);
  for (RawClient& client : idle) {
    ASSERT_TRUE(client.send(http_request("GET", "/health")));
    EXPECT_EQ(client.read_answer().status, 200);
  }
  idle.clear();
  slow.clear();
  EXPECT_TRUE(wait_for_no_connections(*server.server));
}

/// One request that ends in one of many ways.
void ask_somehow(const TestServer& server, std::mt19937& random) {
  RawClient client(server.port());
  ASSERT_TRUE(client.connected());
  const bool stream = random() % 2 == 0;
  const std::string request = http_request("POST", stream ? kChat : "/v1/echo", std::string(random() % 2000, 'x'));
  switch (random() % 6) {
    case 0:  // in the middle of the head or the body
      static_cast<void>(client.send(request.substr(0, random() % request.size())));
      return;
    case 1:
      static_cast<void>(client.send(request.substr(0, random() % request.size())));
      return client.reset();
    case 2:  // before the answer
      static_cast<void>(client.send(request));
      return client.reset();
    case 3:
      static_cast<void>(client.send(request));
      return client.finish();
    case 4:  // in the middle of the answer
      static_cast<void>(client.send(request + request));
      static_cast<void>(client.read_until("\r\n\r\n"));
      return client.reset();
    default:
      ASSERT_TRUE(client.send(request));
      EXPECT_TRUE(client.read_answer().whole);
  }
}

TEST(HttpLoad, TenThousandRequestsWithRandomEndsLeaveNothingBehind) {
  TestServer server;
  const Answerer answerer(server, 20);
  RawClient(server.port()).finish();
  ASSERT_TRUE(wait_for_no_connections(*server.server));
  const std::ptrdiff_t before = open_descriptors();
  std::vector<std::jthread> clients;
  clients.reserve(4);
  for (std::uint32_t seed = 0; seed < 4; ++seed) {
    clients.emplace_back([&server, seed] {
      std::mt19937 random(seed);
      for (int i = 0; i < 2500; ++i) ask_somehow(server, random);
    });
  }
  clients.clear();
  EXPECT_TRUE(wait_for_no_connections(*server.server));
  EXPECT_EQ(open_descriptors(), before);
  EXPECT_EQ(server.server->figures().requests, 0);
  RawClient last(server.port());
  ASSERT_TRUE(last.send(http_request("GET", "/health")));
  EXPECT_EQ(last.read_answer().status, 200);
}

}  // namespace
}  // namespace hadal::server
