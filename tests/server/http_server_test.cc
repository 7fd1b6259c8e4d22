#include "server/http_server.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <filesystem>
#include <set>
#include <string>

#include "server/raw_client.h"
#include "server/test_server.h"
#include "testing/temp_directory.h"

namespace hadal::server {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::StartsWith;

RawAnswer ask(const TestServer& server, std::string_view method, std::string_view path, std::string_view body = {},
              std::string_view headers = {}) {
  RawClient client(server.port());
  EXPECT_TRUE(client.send(http_request(method, path, body, headers)));
  return client.read_answer(method == "HEAD");
}

/// What the server answers to `bytes`, after which it must close.
RawAnswer last_answer(const TestServer& server, std::string_view bytes) {
  RawClient client(server.port());
  EXPECT_TRUE(client.send(bytes));
  RawAnswer answer = client.read_answer();
  EXPECT_EQ(client.read_to_end(), "") << bytes.substr(0, 200);
  return answer;
}

/// Lets in who has the key "good".
tl::expected<GatePass, Refusal> good_key(const HttpRequest& request, const Route&) {
  const auto value = find_header(request.head.headers, "authorization");
  if (!value) return tl::unexpected<Refusal>({{api::Cause::kNoKey, "no key"}, 0, "no_key"});
  if (*value == "Bearer busy")
    return tl::unexpected<Refusal>({{api::Cause::kTooManyRequests, "busy"}, 1.2, "requests"});
  if (*value != "Bearer good") return tl::unexpected<Refusal>({{api::Cause::kWrongKey, "wrong key"}, 0, "unknown"});
  return GatePass{.pass = 7, .key_id = "key_1", .headers = {{"x-ratelimit-limit-requests", "5"}}};
}

TEST(HttpServer, Check1AnswersHealthWithoutAKey) {
  const TestServer server(loopback_options(), good_key);
  const RawAnswer answer = ask(server, "GET", "/health");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, R"({"status":"ok"})");
  EXPECT_EQ(answer.headers.at("content-type"), "application/json");
  EXPECT_EQ(answer.headers.at("cache-control"), "no-store");
  EXPECT_EQ(answer.headers.at("x-content-type-options"), "nosniff");
  EXPECT_FALSE(answer.headers.contains("server"));
}

TEST(HttpServer, Check3AnswersUnknownPathsInTheFormOfTheirFamily) {
  const TestServer server;
  const RawAnswer openai = ask(server, "GET", "/v1/nothing");
  EXPECT_EQ(openai.status, 404);
  EXPECT_THAT(openai.body, HasSubstr(R"("type":"invalid_request_error","param":null,"code":null)"));
  EXPECT_EQ(openai.headers.at("x-should-retry"), "false");
  const RawAnswer deepseek = ask(server, "GET", "/beta/nothing");
  EXPECT_EQ(deepseek.status, 404);
  EXPECT_THAT(deepseek.body, HasSubstr(R"("code":"invalid_request_error")"));
  EXPECT_THAT(ask(server, "POST", "/v1/v1/chat/completions").body, HasSubstr("http://localhost"));
  EXPECT_EQ(ask(server, "GET", "/v1/%2e%2e/health").status, 404);
}

TEST(HttpServer, Check4NamesTheMethodsOfAPath) {
  const TestServer server;
  const RawAnswer get = ask(server, "GET", "/v1/chat/completions");
  EXPECT_EQ(get.status, 405);
  EXPECT_EQ(get.headers.at("allow"), "POST");
  EXPECT_EQ(ask(server, "DELETE", "/v1/models").headers.at("allow"), "GET, HEAD");
  EXPECT_EQ(ask(server, "OPTIONS", "/v1/models").status, 405);
}

TEST(HttpServer, Check5TakesRepeatedAndTrailingSlashesForThePlainPath) {
  const TestServer server;
  EXPECT_EQ(ask(server, "POST", "//v1/echo", "[1]").body, "[1]");
  EXPECT_EQ(ask(server, "POST", "/v1/echo/", "[2]").body, "[2]");
  EXPECT_EQ(ask(server, "GET", "/v1/models/hadal-nano").body, "hadal-nano");
  EXPECT_EQ(ask(server, "GET", "/v1/models/a/b").status, 404);
}

TEST(HttpServer, Check6WantsJson) {
  const TestServer server;
  const auto status = [&](std::string_view headers) {
    return ask(server, "POST", "/v1/echo", "", std::string(headers)).status;
  };
  RawClient client(server.port());
  const auto ask_typed = [&](std::string_view type) {
    EXPECT_TRUE(
        client.send(fmt::format("POST /v1/echo HTTP/1.1\r\nHost: localhost\r\n{}Content-Length: 2\r\n\r\n{{}}", type)));
    return client.read_answer().status;
  };
  EXPECT_EQ(ask_typed("Content-Type: text/plain\r\n"), 415);
  EXPECT_EQ(ask_typed(""), 415);
  EXPECT_EQ(ask_typed("Content-Type: application/json; charset=latin1\r\n"), 415);
  EXPECT_EQ(ask_typed("Content-Type: Application/JSON ; charset=\"UTF-8\"\r\n"), 200);
  EXPECT_EQ(status("Content-Encoding: gzip\r\n"), 415);
  EXPECT_EQ(status("Content-Encoding: identity\r\n"), 200);
}

TEST(HttpServer, Check13RefusesALargeBodyBeforeItComes) {
  const TestServer server;
  RawClient client(server.port());
  ASSERT_TRUE(
      client.send("POST /v1/echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                  "Content-Length: 50331649\r\n\r\n"));
  const RawAnswer answer = client.read_answer();
  EXPECT_EQ(answer.status, 413);
  EXPECT_THAT(answer.body, HasSubstr("request_too_large"));
  EXPECT_EQ(answer.headers.at("connection"), "close");
  EXPECT_EQ(client.read_to_end(), "");
}

TEST(HttpServer, Check14RefusesALargeChunkedBodyAndCloses) {
  HttpOptions options = loopback_options();
  options.limits.body = 1000;
  const TestServer server(options);
  const std::string chunk = "1f4\r\n" + std::string(500, 'x') + "\r\n";
  EXPECT_EQ(last_answer(server,
                        "POST /v1/echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                        "Transfer-Encoding: chunked\r\n\r\n" +
                            chunk + chunk + "1\r\ny\r\n")
                .status,
            413);
}

TEST(HttpServer, TakesNoBodyWithGet) {
  const TestServer server;
  const auto get = [](std::string_view fields) {
    return fmt::format("GET /health HTTP/1.1\r\nHost: localhost\r\n{}\r\n", fields);
  };
  EXPECT_EQ(last_answer(server, get("Content-Length: 2\r\n")).status, 413);
  EXPECT_EQ(last_answer(server, get("Transfer-Encoding: chunked\r\n")).status, 413);
  EXPECT_EQ(last_answer(server, get("Content-Length: 0\r\nConnection: close\r\n")).status, 200);
}

TEST(HttpServer, AClientThatGoesOnSendingStillReadsWhyItIsRefused) {
  HttpOptions options = loopback_options();
  options.limits.body = 1000;
  const TestServer server(options);
  EXPECT_EQ(last_answer(server, http_request("POST", "/v1/echo", std::string(300'000, 'x'))).status, 413);
}

TEST(HttpServer, Check15To17AnswersBrokenHeadsAndCloses) {
  const TestServer server;
  const auto status = [&](std::string_view fields) {
    return last_answer(server, fmt::format("POST /v1/echo HTTP/1.1\r\nHost: localhost\r\n{}\r\n", fields)).status;
  };
  EXPECT_EQ(status("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n"), 400);
  EXPECT_EQ(status("Content-Length: 2\r\nContent-Length: 3\r\n"), 400);
  EXPECT_EQ(status("Content-Length: 0x2\r\n"), 400);
  EXPECT_EQ(status("Transfer-Encoding: gzip, chunked\r\n"), 400);
  EXPECT_EQ(status("X: " + std::string(17 << 10, 'a') + "\r\n"), 431);
  EXPECT_EQ(status("Expect: a miracle\r\n"), 417);
  EXPECT_EQ(last_answer(server, "GET /" + std::string(9 << 10, 'a') + " HTTP/1.1\r\n").status, 414);
  EXPECT_EQ(last_answer(server, "GET / HTTP/2.0\r\nHost: localhost\r\n\r\n").status, 505);
  EXPECT_EQ(last_answer(server, "GET / HTTP/1.1\r\n\r\n").status, 400);
  const RawAnswer answer = last_answer(server, "\x16\x03\x01");  // TLS
  EXPECT_EQ(answer.status, 400);
  EXPECT_THAT(answer.headers.at("x-request-id"), MatchesRegex("req_[0-9a-zA-Z]{24}"));
}

TEST(HttpServer, Check21NamesEveryRequest) {
  TestServer server;
  const RawAnswer openai = ask(server, "POST", "/v1/echo", "{}",
                               "X-Request-Id: mine-1\r\ntraceparent: "
                               "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01\r\n");
  EXPECT_THAT(openai.headers.at("x-request-id"), MatchesRegex("req_[0-9a-zA-Z]{24}"));
  EXPECT_EQ(openai.headers.at("x-client-request-id"), "mine-1");
  EXPECT_EQ(openai.headers.at("openai-version"), "2020-10-01");
  EXPECT_THAT(openai.headers.at("openai-processing-ms"), MatchesRegex("[0-9]+"));
  EXPECT_THAT(openai.headers.at("traceparent"), MatchesRegex("00-0123456789abcdef0123456789abcdef-[0-9a-f]{16}-01"));
  EXPECT_FALSE(openai.headers.contains("x-ds-trace-id"));
  const auto record = server.records.take();
  ASSERT_TRUE(record);
  EXPECT_EQ(record->request_id, openai.headers.at("x-request-id"));
  EXPECT_EQ(record->client_id, "mine-1");
  EXPECT_EQ(record->route, "/v1/echo");
  EXPECT_EQ(record->address, "127.0.0.1");
  EXPECT_EQ(record->status, 200);
  EXPECT_EQ(record->request_bytes, 2);
  EXPECT_EQ(record->ending, RequestRecord::Ending::kComplete);
  const RawAnswer deepseek = ask(server, "GET", "/chat/completions", {}, "X-Request-Id: not visible\r\n");
  EXPECT_THAT(deepseek.headers.at("x-ds-trace-id"), MatchesRegex("[0-9a-f]{32}"));
  EXPECT_FALSE(deepseek.headers.contains("openai-version"));
  EXPECT_FALSE(deepseek.headers.contains("x-client-request-id"));
}

TEST(HttpServer, Check23AnswersHeadWithoutABody) {
  const TestServer server;
  for (const char* path : {"/", "/v1/models"}) {
    RawClient client(server.port());
    ASSERT_TRUE(client.send(http_request("HEAD", path) + http_request("GET", "/health")));
    const RawAnswer head = client.read_answer(true);
    EXPECT_EQ(head.status, 200);
    EXPECT_NE(head.headers.at("content-length"), "0");
    EXPECT_EQ(client.read_answer().body, R"({"status":"ok"})") << "directly behind it";
  }
}

TEST(HttpServer, Check36And38RefusesOtherSitesAndNames) {
  HttpOptions options = loopback_options();
  options.host_names = {"box.example"};
  const TestServer server(options);
  const auto origin = [&](std::string_view method, std::string_view value) {
    return ask(server, method, method == "GET" ? "/health" : "/v1/echo", "{}", fmt::format("Origin: {}\r\n", value));
  };
  const RawAnswer foreign = origin("POST", "https://evil.example");
  EXPECT_EQ(foreign.status, 403);
  EXPECT_THAT(foreign.head, ::testing::Not(HasSubstr("access-control")));
  EXPECT_EQ(origin("POST", "null").status, 403);
  EXPECT_EQ(origin("POST", "http://localhost").status, 200);
  EXPECT_EQ(origin("GET", "https://evil.example").status, 200);
  const auto host = [&](std::string_view name) {
    return last_answer(server, fmt::format("GET /health HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", name))
        .status;
  };
  EXPECT_EQ(host("evil.example"), 403);
  EXPECT_EQ(host("localhost.evil.example:80"), 403);
  EXPECT_EQ(host("Box.Example:8000"), 200);
  EXPECT_EQ(host("[::1]:8000"), 200);
  EXPECT_EQ(host("127.0.0.1"), 200);
}

TEST(HttpServer, Check37AnswersPagesOfAConfiguredOrigin) {
  HttpOptions options = loopback_options();
  options.cors_origins = {"https://chat.example"};
  const TestServer server(options);
  const std::string origin = "Origin: https://chat.example\r\n";
  const RawAnswer preflight = ask(server, "OPTIONS", "/v1/echo", {},
                                  origin +
                                      "Access-Control-Request-Method: POST\r\n"
                                      "Access-Control-Request-Headers: Content-Type, x-evil, X-Stainless-OS\r\n");
  EXPECT_EQ(preflight.status, 204);
  EXPECT_EQ(preflight.headers.at("access-control-allow-origin"), "https://chat.example");
  EXPECT_EQ(preflight.headers.at("access-control-allow-methods"), "GET, POST, OPTIONS");
  EXPECT_EQ(preflight.headers.at("access-control-allow-headers"), "content-type, x-stainless-os");
  EXPECT_EQ(preflight.headers.at("access-control-max-age"), "600");
  EXPECT_EQ(preflight.headers.at("vary"), "Origin");
  EXPECT_FALSE(preflight.headers.contains("access-control-allow-credentials"));
  const RawAnswer answer = ask(server, "POST", "/v1/echo", "{}", origin);
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.headers.at("access-control-allow-origin"), "https://chat.example");
  EXPECT_THAT(answer.headers.at("access-control-expose-headers"), HasSubstr("x-request-id"));
  EXPECT_EQ(ask(server, "POST", "/v1/echo", "{}", "Origin: https://chat.example.evil\r\n").status, 403);
}

TEST(HttpServer, Check39AsksForTheKeyBeforeTheBodyIsLookedAt) {
  TestServer server(loopback_options(), good_key);
  RawClient client(server.port());
  ASSERT_TRUE(client.send(http_request("POST", "/v1/echo", R"({"model":)", "Authorization: Bearer bad\r\n")));
  EXPECT_EQ(client.read_answer().status, 401);
  ASSERT_TRUE(client.send(http_request("POST", "/v1/echo", "{}"))) << "the connection goes on behind the unread body";
  EXPECT_EQ(client.read_answer().status, 401);
  ASSERT_TRUE(client.send(http_request("POST", "/v1/echo", "{}", "Authorization: Bearer busy\r\n")));
  const RawAnswer busy = client.read_answer();
  EXPECT_EQ(busy.status, 429);
  EXPECT_EQ(busy.headers.at("retry-after"), "2");
  ASSERT_TRUE(client.send(http_request("POST", "/v1/echo", "{}", "Authorization: Bearer good\r\n")));
  const RawAnswer good = client.read_answer();
  EXPECT_EQ(good.status, 200);
  EXPECT_EQ(good.headers.at("x-ratelimit-limit-requests"), "5");
  for (const char* label : {"unknown", "no_key", "requests", ""}) EXPECT_EQ(server.records.take()->refusal, label);
  // A path that is not there needs no key, and a body of unknown length is not waited for.
  EXPECT_EQ(ask(server, "GET", "/v1/nothing").status, 404);
  EXPECT_EQ(
      last_answer(server, "POST /v1/echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n").status,
      401);
}

TEST(HttpServer, InvitesTheBodyOfAClientThatWaitsOnceItMayCome) {
  const TestServer server(loopback_options(), good_key);
  const auto head = [](std::string_view key) {
    return fmt::format(
        "POST /v1/echo HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: "
        "application/json\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
        key);
  };
  RawClient client(server.port());
  ASSERT_TRUE(client.send(head("good")));
  EXPECT_EQ(client.read_answer().status, 100);
  ASSERT_TRUE(client.send("true"));
  EXPECT_EQ(client.read_answer().body, "true");
  EXPECT_EQ(last_answer(server, head("bad")).status, 401);
}

TEST(HttpServer, ReadsBodiesLargerThanItsBuffers) {
  const TestServer server;
  std::string body(1'500'000, ' ');
  for (std::size_t at = 0; at < body.size(); ++at) body[at] = static_cast<char>('a' + at % 23);
  EXPECT_EQ(ask(server, "POST", "/v1/echo", body).body, body);
  RawClient client(server.port());
  ASSERT_TRUE(
      client.send("POST /v1/echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                  "Transfer-Encoding: chunked\r\n\r\n"));
  for (std::size_t at = 0; at < body.size(); at += 100'000) {
    ASSERT_TRUE(client.send("186a0\r\n" + body.substr(at, 100'000) + "\r\n"));
  }
  ASSERT_TRUE(client.send("0\r\nX-Trailer: dropped\r\n\r\n"));
  EXPECT_EQ(client.read_answer().body, body);
}

TEST(HttpServer, GivesUpOnSlowHeadsAndBodies) {
  HttpOptions options = loopback_options();
  options.header_time = milliseconds(50);
  options.body_time = milliseconds(50);
  options.keep_alive_time = milliseconds(50);
  const TestServer server(options);
  const RawAnswer head = last_answer(server, "GET /health HTT");
  EXPECT_EQ(head.status, 408);
  EXPECT_EQ(last_answer(server,
                        "POST /v1/echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                        "Content-Length: 9\r\n\r\n{")
                .status,
            408);
  RawClient silent(server.port());
  EXPECT_EQ(silent.read_to_end(), "");
  ASSERT_TRUE(RawClient(server.port()).connected());
}

TEST(HttpServer, EndsAConnectionAfterItsRequests) {
  HttpOptions options = loopback_options();
  options.requests_per_connection = 3;
  const TestServer server(options);
  RawClient client(server.port());
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(client.send(http_request("GET", "/health")));
  EXPECT_FALSE(client.read_answer().headers.contains("connection"));
  EXPECT_FALSE(client.read_answer().headers.contains("connection"));
  EXPECT_EQ(client.read_answer().headers.at("connection"), "close");
  EXPECT_EQ(client.read_to_end(), "");
}

TEST(HttpServer, SpeaksHttp10) {
  const TestServer server;
  const RawAnswer answer = last_answer(server, "GET /health HTTP/1.0\r\n\r\n");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.headers.at("connection"), "close");
  RawClient client(server.port());
  ASSERT_TRUE(client.send("GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
  EXPECT_EQ(client.read_answer().headers.at("connection"), "keep-alive");
  ASSERT_TRUE(client.send("GET /health HTTP/1.0\r\n\r\n"));
  EXPECT_EQ(client.read_answer().status, 200);
}

TEST(HttpServer, RefusesConnectionsBeyondItsLimits) {
  HttpOptions options = loopback_options();
  options.connections = 2;
  options.connections_per_address = 1;
  const TestServer server(options);
  RawClient first(server.port());
  ASSERT_TRUE(first.send(http_request("GET", "/health")));
  EXPECT_EQ(first.read_answer().status, 200);
  RawClient second(server.port());
  const RawAnswer same_address = second.read_answer();
  EXPECT_EQ(same_address.status, 429);
  EXPECT_EQ(same_address.headers.at("retry-after"), "1");
  RawClient third(server.port());  // `second` still holds its place
  EXPECT_EQ(third.read_answer().status, 503);
  EXPECT_EQ(server.server->figures().refused, 2);
  EXPECT_EQ(server.server->figures().accepted, 1);
}

TEST(HttpServer, AnswersForHandlersThatFailOrForget) {
  const TestServer server;
  for (const char* path : {"/v1/fail", "/v1/drop"}) {
    RawClient client(server.port());
    ASSERT_TRUE(client.send(http_request("POST", path, "{}") + http_request("GET", "/health")));
    const RawAnswer answer = client.read_answer();
    EXPECT_EQ(answer.status, 500) << path;
    EXPECT_THAT(answer.body, HasSubstr("server_error"));
    EXPECT_THAT(answer.body, ::testing::Not(HasSubstr("on purpose")));
    EXPECT_EQ(client.read_answer().status, 200);
  }
}

TEST(HttpServer, BelievesTrustedProxiesAboutAddresses) {
  HttpOptions options = loopback_options();
  options.trusted_proxies = {"127.0.0.1", "10.0.0.2"};
  TestServer server(options);
  const auto seen = [&](std::string_view headers) {
    EXPECT_EQ(ask(server, "GET", "/health", {}, headers).status, 200);
    return server.records.take()->address;
  };
  EXPECT_EQ(seen(""), "127.0.0.1");
  EXPECT_EQ(seen("X-Forwarded-For: 6.6.6.6, 9.8.7.6, 10.0.0.2\r\n"), "9.8.7.6");
  TestServer plain;
  EXPECT_EQ(ask(plain, "GET", "/health", {}, "X-Forwarded-For: 9.8.7.6\r\n").status, 200);
  EXPECT_EQ(plain.records.take()->address, "127.0.0.1");
}

TEST(HttpServer, ListensOnSeveralAddressesWithOneFreePort) {
  HttpOptions options = loopback_options();
  options.addresses = {"127.0.0.1", "127.0.0.2", "::1"};
  const TestServer server(options);
  for (const char* address : {"127.0.0.1", "127.0.0.2"}) {
    RawClient client(server.port(), address);
    ASSERT_TRUE(client.send(http_request("GET", "/health")));
    EXPECT_EQ(client.read_answer().status, 200);
  }
}

TEST(HttpServer, ListensOnAUnixSocketForUserAndGroup) {
  const testing_support::TempDirectory directory;
  HttpOptions options = loopback_options();
  options.unix_path = directory / "socket";
  const std::string path = options.unix_path.string();
  {
    TestServer server(options);
    struct stat info{};
    ASSERT_EQ(::stat(path.c_str(), &info), 0);
    EXPECT_TRUE(S_ISSOCK(info.st_mode));
    EXPECT_EQ(info.st_mode & 0777U, 0660U);
    RawClient client = RawClient::to_unix(path);
    for (int again = 0; again < 2; ++again) {
      ASSERT_TRUE(client.send(http_request("GET", "/health")));
      EXPECT_EQ(client.read_answer().body, R"({"status":"ok"})");
      EXPECT_EQ(server.records.take()->address, "unix");
    }
    RawClient other(server.port());
    ASSERT_TRUE(other.send(http_request("GET", "/health")));
    EXPECT_EQ(other.read_answer().status, 200) << "the port is there, too";
    const auto second = HttpServer::start(options, {}, {});
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, ErrorCode::kUnavailable);
    ASSERT_TRUE(client.send(http_request("GET", "/health")));
    EXPECT_EQ(client.read_answer().status, 200) << "the second one left it alone";
  }
  EXPECT_FALSE(std::filesystem::exists(path)) << "removed at the end";

  boost::asio::io_context io;
  boost::asio::local::stream_protocol::acceptor(io, path);  // leaves its file behind
  ASSERT_TRUE(std::filesystem::exists(path));
  EXPECT_TRUE(HttpServer::start(options, {}, {}));

  testing_support::write_text(path, "precious");
  for (const std::string& wrong : {path, std::string(directory / std::string(200, 'a'))}) {
    options.unix_path = wrong;
    const auto refused = HttpServer::start(options, {}, {});
    ASSERT_FALSE(refused) << wrong;
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument) << wrong;
  }
  EXPECT_EQ(testing_support::read_text(path), "precious");
}

TEST(HttpServer, SaysWhyItCannotListen) {
  const TestServer server;
  HttpOptions options = loopback_options();
  options.port = server.port();
  const auto taken = HttpServer::start(options, {}, {});
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(taken.error().message, StartsWith(fmt::format("cannot listen on 127.0.0.1 port {}", server.port())));
  options.addresses = {"localhost"};
  const auto wrong = HttpServer::start(options, {}, {});
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace hadal::server
