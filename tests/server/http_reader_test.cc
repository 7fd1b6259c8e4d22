#include "server/http_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/waiting_requests.h"

namespace hadal::server {
namespace {

using Step = HttpReader::Step;

/// What a reader makes of `bytes` when they come `cut` at a time.
struct Outcome {
  Step step = Step::kNeedMore;
  RequestHead head;
  std::string body;
  std::string rest;
  HttpProblem problem;
};

Outcome read(std::string_view bytes, std::size_t cut = std::string_view::npos, const HttpLimits& limits = {}) {
  HttpReader reader(limits);
  Outcome outcome;
  bool in_body = false;
  while (!bytes.empty() && outcome.step == Step::kNeedMore) {
    const std::string_view piece = bytes.substr(0, cut);
    bytes.remove_prefix(piece.size());
    outcome.rest += piece;
    if (!in_body) {
      outcome.step = reader.read_head(outcome.rest);
      if (outcome.step != Step::kDone) continue;
      in_body = true;
    }
    outcome.step = reader.read_body(outcome.rest);
  }
  outcome.rest += bytes;
  outcome.head = reader.head();
  outcome.body = reader.body();
  outcome.problem = reader.problem();
  return outcome;
}

int refusal(std::string_view bytes, const HttpLimits& limits = {}) {
  const Outcome outcome = read(bytes, std::string_view::npos, limits);
  const Outcome by_byte = read(bytes, 1, limits);
  EXPECT_EQ(by_byte.step, outcome.step) << bytes.substr(0, 200);
  EXPECT_EQ(by_byte.problem.status, outcome.problem.status) << bytes.substr(0, 200);
  return outcome.step == Step::kProblem ? outcome.problem.status : 0;
}

TEST(HttpReader, ReadsTheSameHoweverTheBytesAreCut) {
  const std::string bytes =
      "POST //v1/chat%20x/?a=b%2f HTTP/1.1\r\nHost: h:1\r\nX-Api-Key:  k v \r\nContent-Length: 5\r\n\r\nhelloGET /";
  for (std::size_t cut = 1; cut <= bytes.size(); ++cut) {
    const Outcome outcome = read(bytes, cut);
    ASSERT_EQ(outcome.step, Step::kDone) << cut;
    EXPECT_EQ(outcome.head.method, "POST");
    EXPECT_EQ(outcome.head.path, "/v1/chat x");
    EXPECT_EQ(outcome.head.query, "a=b%2f");
    EXPECT_EQ(find_header(outcome.head.headers, "x-api-key"), "k v");
    EXPECT_EQ(outcome.head.content_length, 5);
    EXPECT_TRUE(outcome.head.keep_alive);
    EXPECT_EQ(outcome.body, "hello");
    EXPECT_EQ(outcome.rest, "GET /");
  }
}

TEST(HttpReader, ReadsChunksWithExtensionsAndDropsTrailers) {
  const std::string bytes =
      "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: "
      "1\r\n\r\nnext";
  for (std::size_t cut = 1; cut <= bytes.size(); ++cut) {
    const Outcome outcome = read(bytes, cut);
    ASSERT_EQ(outcome.step, Step::kDone) << cut;
    EXPECT_EQ(outcome.body, "abc0123456789");
    EXPECT_EQ(outcome.rest, "next");
    EXPECT_FALSE(find_header(outcome.head.headers, "t").has_value());
  }
}

TEST(HttpReader, KnowsWhetherTheConnectionGoesOn) {
  EXPECT_TRUE(read("GET / HTTP/1.1\r\nHost: h\r\n\r\n").head.keep_alive);
  EXPECT_FALSE(read("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").head.keep_alive);
  EXPECT_FALSE(read("GET / HTTP/1.0\r\n\r\n").head.keep_alive);
  EXPECT_TRUE(
      read("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n").head.expects_continue);
}

TEST(HttpReader, AbsoluteTargetsOfThisHostOnly) {
  EXPECT_EQ(read("GET http://h:1/x?y HTTP/1.1\r\nHost: h:1\r\n\r\n").head.path, "/x");
  EXPECT_EQ(read("GET http://h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n").head.path, "/");
  EXPECT_EQ(refusal("GET http://evil/x HTTP/1.1\r\nHost: h:1\r\n\r\n"), 400);
  EXPECT_EQ(refusal("GET http://h:12/x HTTP/1.1\r\nHost: h:1\r\n\r\n"), 400);
  EXPECT_EQ(refusal("GET ftp://h:1/x HTTP/1.1\r\nHost: h:1\r\n\r\n"), 400);
}

TEST(HttpReader, PathsThatWouldLeaveTheTreeAreFoundNowhere) {
  for (const char* path : {"/a/../b", "/a%2fb", "/a%2Fb", "/%00", "/%2e%2e/b", "/%", "/%zz", "/a%2"}) {
    const Outcome outcome = read(std::string("GET ") + path + " HTTP/1.1\r\nHost: h\r\n\r\n");
    EXPECT_EQ(outcome.step, Step::kDone) << path;
    EXPECT_EQ(outcome.head.path, "") << path;
  }
  EXPECT_EQ(plain_path("///a//b///"), "/a/b");
  EXPECT_EQ(plain_path("/%41%25"), "/A%");
  EXPECT_EQ(plain_path("//"), "/");
  EXPECT_FALSE(plain_path("").has_value());
}

TEST(HttpReader, Check15and16TwoReadingsOfOneLengthAreRefused) {
  EXPECT_EQ(refusal("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
  EXPECT_EQ(refusal("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n"), 400);
  EXPECT_EQ(refusal("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n"), 400);
  for (const char* length : {"+3", "3 3", "0x3", "-1", "3,3", "", "99999999999999999999"}) {
    EXPECT_EQ(refusal(std::string("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: ") + length + "\r\n\r\n"), 400)
        << length;
  }
  for (const char* coding : {"gzip", "chunked, chunked", "gzip, chunked", "identity", "xchunked", "chunked;q=1"}) {
    EXPECT_EQ(refusal(std::string("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: ") + coding + "\r\n\r\n"), 400)
        << coding;
  }
  EXPECT_EQ(refusal("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
}

TEST(HttpReader, MalformedHeadsAreRefused) {
  const char* const heads[] = {
      "GET / HTTP/1.1\nHost: h\n\n",              // bare line feeds
      "GET / HTTP/1.1\r\nHost: h\nA: b\r\n\r\n",  // one of them
      "GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n",
      "GET / HTTP/1.1\r\nHost : h\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: h\r\nA: b\x01\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: h\r\nA(b): c\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: h\r\n: c\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: h\r\nnonsense\r\n\r\n",
      "GET / HTTP/1.1\r\n\r\n",                        // no Host
      "GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",  // two
      "GET /\r\n\r\n",                                 // HTTP/0.9
      "GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
      "GET / HTTP/1.1 \r\nHost: h\r\n\r\n",
      "G@T / HTTP/1.1\r\nHost: h\r\n\r\n",
      "GET /\xc3\xa9 HTTP/1.1\r\nHost: h\r\n\r\n",
      "\x16\x03\x01\x02\x00",  // a TLS client
      "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
  };
  for (const char* head : heads) EXPECT_EQ(refusal(head), 400) << head;
  EXPECT_EQ(refusal("GET / HTTP/2.0\r\nHost: h\r\n\r\n"), 505);
  EXPECT_EQ(refusal("GET / HTTP/1.1\r\nHost: h\r\nExpect: tea\r\n\r\n"), 417);
}

TEST(HttpReader, Check17SizesAtAndBeyondTheirLimits) {
  const auto with_header = [](std::size_t size) {
    return "GET / HTTP/1.1\r\nHost: h\r\nA: " + std::string(size - 3, 'x') + "\r\n\r\n";
  };
  EXPECT_EQ(refusal(with_header(16 << 10)), 0);
  EXPECT_EQ(refusal(with_header((16 << 10) + 1)), 431);
  EXPECT_EQ(refusal(with_header(17 << 10)), 431);
  const auto with_target = [](std::size_t line) {
    return "GET /" + std::string(line - 14, 'x') + " HTTP/1.1\r\nHost: h\r\n\r\n";
  };
  EXPECT_EQ(refusal(with_target(8 << 10)), 0);
  EXPECT_EQ(refusal(with_target((8 << 10) + 1)), 414);
  const auto with_headers = [](int count) {
    std::string head = "GET / HTTP/1.1\r\nHost: h\r\n";
    for (int header = 1; header < count; ++header) head += "A: b\r\n";
    return head + "\r\n";
  };
  EXPECT_EQ(refusal(with_headers(100)), 0);
  EXPECT_EQ(refusal(with_headers(101)), 431);
  std::string endless = "GET / HTTP/1.1\r\n";
  while (endless.size() < (65 << 10)) endless += "A: " + std::string(1000, 'x') + "\r\n";
  EXPECT_EQ(refusal(endless), 431);
  EXPECT_EQ(refusal("GET /" + std::string(9 << 10, 'x')), 414);
}

TEST(HttpReader, Check14AChunkedBodyIsCountedWhileItComes) {
  HttpLimits limits;
  limits.body = 10;
  const std::string head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(refusal(head + "5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n", limits), 0);
  EXPECT_EQ(refusal(head + "5\r\n01234\r\n6\r\n56789X\r\n0\r\n\r\n", limits), 413);
  EXPECT_EQ(refusal(head + "zz\r\n0"), 400);  // nothing is said before the shortest last chunk could be there
  EXPECT_EQ(refusal(head + "3\r\nabcd\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(refusal(head + "1;" + std::string(300, 'x') + "\r\na\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(refusal(head + "1;" + std::string(5000, 'x')), 400);
  EXPECT_EQ(refusal(head + "11111111111111111\r\n"), 400);
}

TEST(HttpMessage, OnlyVisibleAsciiIsEchoed) {
  EXPECT_EQ(visible_ascii("abc-1", 128), "abc-1");
  EXPECT_FALSE(visible_ascii("a\r\nb", 128).has_value());
  EXPECT_FALSE(visible_ascii("a b", 128).has_value());
  EXPECT_FALSE(visible_ascii("", 128).has_value());
  EXPECT_FALSE(visible_ascii(std::string(129, 'x'), 128).has_value());
  EXPECT_FALSE(visible_ascii("\xc3\xa9", 128).has_value());
}

TEST(WaitingRequests, CountsWholeOnesHoweverTheyAreCut) {
  const std::string post = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /";
  const std::string get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  const std::string chunks = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
  const std::string bytes = post + get + chunks + get + "broken\r\n\r\n" + get;
  for (std::size_t cut = 1; cut <= bytes.size(); ++cut) {
    WaitingRequests waiting{HttpLimits{}};
    for (std::size_t at = 0; at < bytes.size(); at += cut) waiting.see(std::string_view(bytes).substr(at, cut));
    EXPECT_EQ(waiting.count(), 4) << cut;
  }
  WaitingRequests partial{HttpLimits{}};
  partial.see(std::string_view(bytes).substr(0, post.size() - 1));
  EXPECT_EQ(partial.count(), 0);
  partial.see(std::string_view(bytes).substr(post.size() - 1, 1 + get.size()));
  EXPECT_EQ(partial.count(), 2);
}

}  // namespace
}  // namespace hadal::server
