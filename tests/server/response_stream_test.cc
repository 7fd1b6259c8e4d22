#include "server/response_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>

namespace hadal::server {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

/// A stream whose connection is the test.
struct Answer {
  explicit Answer(AnswerForm form = {}) : stream(std::move(form), [this] { ++wakes; }) {}

  /// Takes and sends all that waits.
  ResponseStream::Output send() {
    ResponseStream::Output output = stream.take();
    stream.sent(output.bytes.size());
    return output;
  }

  std::atomic<int> wakes = 0;
  ResponseStream stream;
};

Response events() { return {.content_type = "text/event-stream; charset=utf-8"}; }

TEST(ResponseStream, SendsAWholeAnswerWithItsLengthAndAllHeaders) {
  Answer answer({.headers = {{"x-request-id", "req_1"}}});
  answer.stream.respond({.status = 404, .body = "{}", .headers = {{"allow", "GET"}}});
  const auto output = answer.send();
  EXPECT_EQ(output.bytes,
            "HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: 2\r\ncache-control: "
            "no-store\r\nx-request-id: req_1\r\nallow: GET\r\n\r\n{}");
  EXPECT_TRUE(output.last);
  EXPECT_FALSE(output.close);
  EXPECT_EQ(answer.stream.status(), 404);
  EXPECT_EQ(answer.stream.sent_bytes(), static_cast<std::int64_t>(output.bytes.size()));
  EXPECT_TRUE(answer.stream.complete());
}

TEST(ResponseStream, AnswersHeadWithTheLengthOfTheBodyAndNoBody) {
  Answer answer({.head_only = true});
  answer.stream.respond({.body = "12345"});
  const auto output = answer.send();
  EXPECT_THAT(output.bytes, HasSubstr("content-length: 5\r\n"));
  EXPECT_TRUE(output.bytes.ends_with("\r\n\r\n"));
}

TEST(ResponseStream, GivesNoContentTypeWithoutContent) {
  Answer answer;
  answer.stream.respond({.status = 204});
  EXPECT_THAT(answer.send().bytes, Not(HasSubstr("content-")));
}

TEST(ResponseStream, TellsMillisecondsWhereAsked) {
  Answer answer({.begun = std::chrono::steady_clock::now() - std::chrono::seconds(5), .tells_time = true});
  answer.stream.respond({});
  const std::string bytes = answer.send().bytes;
  const std::size_t at = bytes.find("openai-processing-ms: ");
  ASSERT_NE(at, std::string::npos);
  EXPECT_GE(std::stoi(bytes.substr(at + 22)), 5000);
}

TEST(ResponseStream, StreamsInChunksAndWakesOnceForWhatIsNotTaken) {
  Answer answer;
  answer.stream.begin(events(), ": keep-alive\n\n");
  answer.stream.write("data: 1\n\n");
  EXPECT_EQ(answer.wakes, 1);
  auto output = answer.send();
  EXPECT_THAT(output.bytes, HasSubstr("transfer-encoding: chunked\r\n"));
  EXPECT_TRUE(output.bytes.ends_with("\r\n\r\n9\r\ndata: 1\n\n\r\n"));
  EXPECT_FALSE(output.last);
  answer.stream.write(std::string(26, 'x'));
  answer.stream.finish();
  answer.stream.write("too late");
  EXPECT_EQ(answer.wakes, 2);
  output = answer.send();
  EXPECT_EQ(output.bytes, "1a\r\n" + std::string(26, 'x') + "\r\n0\r\n\r\n");
  EXPECT_TRUE(output.last);
  EXPECT_FALSE(output.close);
}

TEST(ResponseStream, GivesHttp10NoChunksButTheEndOfTheConnection) {
  Answer answer({.minor_version = 0});
  answer.stream.begin(events(), "");
  answer.stream.write("abc");
  answer.stream.finish();
  const auto output = answer.send();
  EXPECT_THAT(output.bytes, Not(HasSubstr("chunked")));
  EXPECT_THAT(output.bytes, HasSubstr("connection: close\r\n"));
  EXPECT_TRUE(output.bytes.ends_with("\r\n\r\nabc"));
  EXPECT_TRUE(output.last);
  EXPECT_TRUE(output.close);
}

TEST(ResponseStream, Check103SendsTheIdleTextOnlyIntoSilence) {
  Answer answer;
  answer.stream.begin(events(), ": keep-alive\n\n");
  answer.stream.idle();  // the head waits to be sent: that is no silence
  EXPECT_THAT(answer.send().bytes, Not(HasSubstr("keep-alive")));
  answer.stream.idle();
  EXPECT_EQ(answer.send().bytes, "e\r\n: keep-alive\n\n\r\n");
  answer.stream.finish();
  static_cast<void>(answer.send());
  answer.stream.idle();
  EXPECT_EQ(answer.send().bytes, "");
}

TEST(ResponseStream, Check104CommitsTheHeadOfASlowAnswerAndSendsLineFeeds) {
  Answer answer;
  answer.stream.idle();  // nothing is decided yet
  EXPECT_EQ(answer.send().bytes, "");
  answer.stream.expect({.headers = {{"x-hadal-seed", "7"}}});
  answer.stream.idle();
  const std::string head = answer.send().bytes;
  EXPECT_TRUE(head.starts_with("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(head, HasSubstr("x-hadal-seed: 7\r\n"));
  EXPECT_TRUE(head.ends_with("\r\n\r\n1\r\n\n\r\n"));
  answer.stream.idle();
  EXPECT_EQ(answer.send().bytes, "1\r\n\n\r\n");
  answer.stream.respond({.body = "{}"});
  const auto output = answer.send();
  EXPECT_EQ(output.bytes, "2\r\n{}\r\n0\r\n\r\n");
  EXPECT_TRUE(output.last);
  EXPECT_TRUE(answer.stream.complete());
}

TEST(ResponseStream, BreaksOffWhenASlowAnswerFailsAfterItsHead) {
  Answer answer;
  answer.stream.expect({});
  answer.stream.idle();
  static_cast<void>(answer.send());
  answer.stream.respond({.status = 500, .body = "{}"});
  const auto output = answer.send();
  EXPECT_EQ(output.bytes, "");
  EXPECT_TRUE(output.last);
  EXPECT_TRUE(output.close);
  EXPECT_FALSE(answer.stream.complete());
}

TEST(ResponseStream, AFastAnswerKeepsItsOwnStatus) {
  Answer answer;
  answer.stream.expect({});
  answer.stream.respond({.status = 503});
  EXPECT_TRUE(answer.send().bytes.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
}

TEST(ResponseStream, AbortEndsAStreamWithoutItsLastChunk) {
  Answer answer;
  answer.stream.begin(events(), "");
  answer.stream.write("a");
  answer.stream.abort();
  const auto output = answer.send();
  EXPECT_TRUE(output.bytes.ends_with("1\r\na\r\n"));
  EXPECT_TRUE(output.last);
  EXPECT_TRUE(output.close);
}

TEST(ResponseStream, IsNotReadyWhileMoreThanTheBufferWaits) {
  Answer answer({.buffer_bytes = 1000});
  int ready = 0;
  answer.stream.watch({.ready = [&] { ++ready; }});
  answer.stream.begin(events(), "");
  static_cast<void>(answer.send());
  EXPECT_TRUE(answer.stream.ready());
  answer.stream.write(std::string(1200, 'x'));
  EXPECT_FALSE(answer.stream.ready());
  const auto output = answer.stream.take();
  EXPECT_FALSE(answer.stream.ready()) << "taken is not sent";
  answer.stream.sent(100);
  EXPECT_EQ(ready, 0);
  answer.stream.sent(200);
  EXPECT_EQ(ready, 1);
  answer.stream.sent(output.bytes.size() - 300);
  EXPECT_EQ(ready, 1);
  EXPECT_TRUE(answer.stream.ready());
}

TEST(ResponseStream, TellsTheHandlerOnceThatTheClientHasLeft) {
  Answer answer;
  int gone = 0;
  answer.stream.watch({.gone = [&] { ++gone; }});
  answer.stream.begin(events(), "");
  answer.stream.leave();
  answer.stream.leave();
  EXPECT_EQ(gone, 1);
  EXPECT_TRUE(answer.stream.gone());
  EXPECT_FALSE(answer.stream.complete());
  const std::size_t head = answer.stream.take().bytes.size();
  answer.stream.write("nobody reads this");
  answer.stream.finish();
  EXPECT_EQ(answer.stream.take().bytes, "");
  EXPECT_GT(head, 0U);
  answer.stream.watch({.gone = [&] { ++gone; }});  // too late to wait for it
  EXPECT_EQ(gone, 2);
}

TEST(ResponseStream, LosesNothingBetweenTwoThreads) {
  Answer answer({.buffer_bytes = 4096});
  constexpr int kPieces = 2000;
  std::jthread handler([&] {
    answer.stream.begin(events(), "");
    for (int i = 0; i < kPieces; ++i) {
      while (!answer.stream.ready()) std::this_thread::yield();
      answer.stream.write("data: x\n\n");
    }
    answer.stream.finish();
  });
  std::string bytes;
  for (bool last = false; !last;) {
    const auto output = answer.send();
    bytes += output.bytes;
    last = output.last;
  }
  std::string expected;
  for (int i = 0; i < kPieces; ++i) expected += "9\r\ndata: x\n\n\r\n";
  EXPECT_EQ(bytes.substr(bytes.find("\r\n\r\n") + 4), expected + "0\r\n\r\n");
}

}  // namespace
}  // namespace hadal::server
