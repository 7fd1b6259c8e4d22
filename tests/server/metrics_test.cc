#include "server/metrics.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <sstream>
#include <string>

#include "server/access_log.h"
#include "server/log_file.h"
#include "server/metrics_text.h"
#include "server/status_routes.h"
#include "testing/temp_directory.h"

namespace hadal::server {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

/// A generation that went well.
RequestRecord generation() {
  RequestRecord record{.time = std::chrono::system_clock::from_time_t(1'700'000'000) + std::chrono::milliseconds(42)};
  record.request_id = "req_1";
  record.key_id = "key_1";
  record.address = "127.0.0.1";
  record.method = "POST";
  record.route = "/v1/chat/completions";
  record.status = 200;
  record.seconds = 2.25;
  record.request_bytes = 100;
  record.answer_bytes = 300;
  record.notes = {.model = "hadal-nano",
                  .finish = "stop",
                  .prompt_tokens = 30,
                  .cached_tokens = 10,
                  .answer_tokens = 5,
                  .reasoning_tokens = 3,
                  .max_tokens = 64,
                  .queue_seconds = 0.05,
                  .first_token_seconds = 0.25};
  return record;
}

TEST(Metrics, Check191CountsWhatWasRequested) {
  Metrics metrics({.model = "m", .context = 1000});
  metrics.request_ended(generation());
  metrics.request_ended(generation());
  RequestRecord refused;
  refused.status = 401;
  refused.refusal = "unknown";
  refused.route = "/v1/models";
  metrics.request_ended(refused);
  refused.status = 429;
  refused.refusal = "requests";
  metrics.request_ended(refused);
  const std::string text = metrics.text({}, {});
  const auto value = metric_samples(text);
  EXPECT_EQ(value.at(R"(hadal:http_requests_total{code="200",endpoint="/v1/chat/completions",family="openai"})"), 2);
  EXPECT_EQ(value.at(R"(hadal:http_requests_total{code="401",endpoint="/v1/models",family="openai"})"), 1);
  EXPECT_EQ(value.at(R"(hadal:auth_failures_total{reason="unknown"})"), 1);
  EXPECT_EQ(value.at(R"(hadal:rate_limited_total{kind="requests"})"), 1);
  EXPECT_EQ(value.at(R"(hadal:request_success_total{finished_reason="stop"})"), 2);
  EXPECT_EQ(value.at("hadal:http_response_bytes_total"), 600);
  EXPECT_EQ(value.at("hadal:reasoning_tokens_total"), 6);
  EXPECT_EQ(value.at("hadal:request_prompt_tokens_sum"), 60);
  EXPECT_EQ(value.at("hadal:time_to_first_token_seconds_count"), 2);
  EXPECT_EQ(value.at("hadal:time_to_first_token_seconds_sum"), 0.5);
  EXPECT_EQ(value.at("hadal:request_time_per_output_token_seconds_sum"), 1.0);  // 2 s for four tokens, twice
  EXPECT_NEAR(value.at("hadal:request_prefill_time_seconds_sum"), 0.4, 1e-9);
  EXPECT_THAT(text, HasSubstr("# TYPE hadal:time_to_first_token_seconds histogram"));
  EXPECT_THAT(text, Not(HasSubstr("key_1")));
  EXPECT_THAT(text, Not(HasSubstr("127.0.0.1")));
}

TEST(Metrics, Check191HasHistogramsThatNeverFall) {
  Metrics metrics({.model = "m", .context = 1000});
  for (const double seconds : {0.0005, 0.003, 0.003, 0.6, 1000.0}) metrics.token_gap(seconds);
  std::istringstream lines(metrics.text({}, {}));
  std::string histogram;
  double last = 0;
  int buckets = 0;
  for (std::string line; std::getline(lines, line);) {
    const std::size_t at = line.find("_bucket{");
    if (at == std::string::npos) continue;
    const double count = std::stod(line.substr(line.rfind(' ')));
    if (line.substr(0, at) != histogram) last = 0;
    histogram = line.substr(0, at);
    EXPECT_GE(count, last) << line;
    last = count;
    if (histogram != "hadal:inter_token_latency_seconds") continue;
    ++buckets;
    if (line.find(R"(le="0.005")") != std::string::npos) {
      EXPECT_EQ(count, 3);
    }
    if (line.find(R"(le="+Inf")") != std::string::npos) {
      EXPECT_EQ(count, 5);
    }
  }
  EXPECT_EQ(buckets, 23);
}

TEST(Metrics, TellsWhatTheEngineCounts) {
  Metrics metrics({.prefix = "vllm:", .model = "m"});
  engine::ServiceFigures engine{.running = 3, .waiting = 2, .prompt_tokens = 100, .cached_tokens = 28};
  engine.deferred = 1;
  engine.queried_tokens = 128;
  engine.cached_tokens_on_disk = 8;
  engine.preemptions = 5;
  engine.preemptions_to_disk = 2;
  engine.accepted_at = {6, 4, 1};
  engine.pages = 10;
  engine.free_pages = 4;
  engine.cache.disk.corrupt = 1;
  static_cast<void>(metrics.text(engine, {}));
  engine.prompt_tokens = 150;
  engine.queried_tokens = 178;
  engine.running = 1;
  engine.pages = 10;
  engine.slots = 4;
  engine.page_tokens = 128;
  const auto value = metric_samples(metrics.text(engine, {.connections = 7, .stalls = 2}, {.hits = 9, .misses = 3}));
  EXPECT_EQ(value.at("vllm:num_requests_running"), 1);
  EXPECT_EQ(value.at("vllm:num_requests_waiting"), 2);
  EXPECT_EQ(value.at("vllm:prompt_tokens_total"), 150);
  EXPECT_EQ(value.at("vllm:prefix_cache_queries_total"), 178);
  EXPECT_EQ(value.at(R"(vllm:prefix_cache_hits_total{tier="memory"})"), 20);
  EXPECT_EQ(value.at(R"(vllm:prefix_cache_hits_total{tier="disk"})"), 8);
  EXPECT_EQ(value.at(R"(vllm:num_requests_waiting_by_reason{reason="capacity"})"), 1);
  EXPECT_EQ(value.at(R"(vllm:num_requests_waiting_by_reason{reason="deferred"})"), 1);
  EXPECT_EQ(value.at("vllm:num_preemptions_total"), 5);
  EXPECT_EQ(value.at("vllm:num_preemptions_to_disk_total"), 2);
  EXPECT_EQ(value.at(R"(vllm:spec_decode_num_accepted_tokens_per_pos_total{position="1"})"), 4);
  EXPECT_EQ(value.at(R"(vllm:spec_decode_num_accepted_tokens_per_pos_total{position="7"})"), 0);
  EXPECT_EQ(value.at(R"(vllm:cache_config_info{block_size="128",max_num_seqs="4",num_blocks="10"})"), 1);
  EXPECT_EQ(value.at("vllm:replay_hits_total"), 9);
  EXPECT_EQ(value.at("vllm:replay_misses_total"), 3);
  EXPECT_EQ(value.at("vllm:prefix_cache_corrupt_total"), 1);
  EXPECT_NEAR(value.at("vllm:kv_cache_usage_perc"), 0.6, 1e-9);
  EXPECT_EQ(value.at("vllm:http_connections"), 7);
  EXPECT_EQ(value.at("vllm:stream_stalls_total"), 2);
}

TEST(Metrics, TellsStepsCommitsAndMissingReasoning) {
  Metrics metrics({.model = "m", .context = 1000});
  metrics.step({.sequences = 1, .tokens = 512, .seconds = 0.25});
  metrics.step({.sequences = 3, .tokens = 3, .seconds = 0.5});
  metrics.ledger_commit(0.004);
  metrics.reasoning_missing(2);
  metrics.reasoning_missing(0);
  const auto value = metric_samples(metrics.text({}, {}));
  EXPECT_EQ(value.at("hadal:iteration_tokens_total_sum"), 515);
  EXPECT_EQ(value.at(R"(hadal:iteration_tokens_total_bucket{le="5"})"), 1);
  EXPECT_EQ(value.at("hadal:engine_batch_tokens"), 3);
  EXPECT_EQ(value.at("hadal:engine_step_seconds_count"), 2);
  EXPECT_EQ(value.at("hadal:engine_step_seconds_sum"), 0.75);
  EXPECT_EQ(value.at(R"(hadal:ledger_commit_seconds_bucket{le="0.005"})"), 1);
  EXPECT_EQ(value.at("hadal:reasoning_missing_total"), 2);
}

TEST(Metrics, CountsAbortsAndErrorsAsSuch) {
  Metrics metrics({.model = "m"});
  RequestRecord record = generation();
  record.ending = RequestRecord::Ending::kClientLeft;
  record.notes.first_token_seconds = -1;
  metrics.request_ended(record);
  record.ending = RequestRecord::Ending::kBrokenOff;
  metrics.request_ended(record);
  record.ending = RequestRecord::Ending::kComplete;
  record.status = 504;
  metrics.request_ended(record);
  const auto value = metric_samples(metrics.text({}, {}));
  EXPECT_EQ(value.at(R"(hadal:request_success_total{finished_reason="abort"})"), 1);
  EXPECT_EQ(value.at(R"(hadal:request_success_total{finished_reason="error"})"), 2);
  EXPECT_EQ(value.at("hadal:time_to_first_token_seconds_count"), 0);
}

TEST(AccessLog, WritesOneLineOfJsonForARequest) {
  EXPECT_EQ(access_line(generation()),
            R"({"time":"2023-11-14T22:13:20.042Z","request_id":"req_1","key":"key_1","address":"127.0.0.1",)"
            R"("family":"openai","method":"POST","route":"/v1/chat/completions","status":200,"model":"hadal-nano",)"
            R"("finish":"stop","prompt_tokens":30,"cached_tokens":10,"completion_tokens":5,"reasoning_tokens":3,)"
            R"("queue_ms":50.0,"first_token_ms":250.0,"total_ms":2250.0,"request_bytes":100,"answer_bytes":300})"
            "\n");
  RequestRecord record = generation();
  record.client_id = "a\"b";
  record.notes = {};
  record.refusal = "no_key";
  record.ending = RequestRecord::Ending::kClientLeft;
  const std::string line = access_line(record);
  EXPECT_THAT(line, HasSubstr(R"("client_id":"a\"b",)"));
  EXPECT_THAT(line, HasSubstr(R"("refused_by":"no_key")"));
  EXPECT_THAT(line, HasSubstr(R"("ended_by":"client")"));
  EXPECT_THAT(line, Not(HasSubstr("tokens")));
}

TEST(LogFile, AppendsAndLosesNothingAtTheEnd) {
  const testing_support::TempDirectory directory;
  const auto path = directory.path() / "access.log";
  for (int round = 0; round < 2; ++round) {
    auto log = LogFile::open(path, LogFile::Readers::kGroup);
    ASSERT_TRUE(log) << log.error().message;
    for (int i = 0; i < 500; ++i) (*log)->write(access_line(generation()));
  }
  std::string expected;
  for (int i = 0; i < 1000; ++i) expected += access_line(generation());
  EXPECT_EQ(testing_support::read_text(path), expected);
  const auto nowhere = LogFile::open(directory.path() / "missing" / "access.log", LogFile::Readers::kGroup);
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(nowhere.error().code, ErrorCode::kNotFound);
}

TEST(LogFile, GoesOnInANewFileWhenItsOwnWasMovedAway) {
  const testing_support::TempDirectory directory;
  const auto path = directory.path() / "log";
  const auto moved = directory.path() / "log.1";
  {
    auto log = LogFile::open(path, LogFile::Readers::kGroup);
    ASSERT_TRUE(log) << log.error().message;
    std::filesystem::rename(path, moved);
    for (int i = 0; i < 100; ++i) (*log)->write("old\n");
    (*log)->reopen();
    for (int i = 0; i < 100; ++i) (*log)->write("new\n");
  }
  std::string old_lines, new_lines;
  for (int i = 0; i < 100; ++i) old_lines += "old\n", new_lines += "new\n";
  EXPECT_EQ(testing_support::read_text(moved), old_lines);
  EXPECT_EQ(testing_support::read_text(path), new_lines);
}

TEST(LogFile, IsClosedToOthersWhereItHoldsTexts) {
  const testing_support::TempDirectory directory;
  const auto path = directory.path() / "content";
  testing_support::write_text(path, "before\n");
  ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
  ASSERT_TRUE(LogFile::open(path, LogFile::Readers::kOwner));
  struct stat info{};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0600U);
}

/// What the route of `path` answers.
std::string answer_of(const std::vector<Route>& routes, std::string_view path) {
  const RouteTable table(routes);
  const Route* route = table.find("GET", path).route;
  if (route == nullptr) return "";
  const auto stream = std::make_shared<ResponseStream>(AnswerForm{}, [] {});
  route->handler(HttpRequest{}, stream);
  return stream->take().bytes;
}

TEST(StatusRoutes, Check1And2TellHealthApartFromReadiness) {
  Readiness readiness = Readiness::kLoading;
  const auto routes = status_routes(
      {.version = "1.2", .readiness = [&] { return readiness; }, .metrics = [] { return std::string("m 1\n"); }});
  EXPECT_THAT(answer_of(routes, "/ready"), HasSubstr("HTTP/1.1 503"));
  EXPECT_THAT(answer_of(routes, "/health"),
              HasSubstr(R"({"error":{"code":503,"message":"Loading model","type":"unavailable_error"}})"));
  readiness = Readiness::kDraining;
  EXPECT_THAT(answer_of(routes, "/ready"), HasSubstr("HTTP/1.1 503"));
  for (const char* path : {"/health", "/v1/health", "/live", "/ping"}) {
    EXPECT_TRUE(answer_of(routes, path).ends_with(R"({"status":"ok"})")) << path;
  }
  readiness = Readiness::kFull;
  EXPECT_THAT(answer_of(routes, "/ready"), HasSubstr("retry-after: 1"));
  readiness = Readiness::kReady;
  EXPECT_TRUE(answer_of(routes, "/ready").ends_with(R"({"status":"ready"})"));
  EXPECT_TRUE(answer_of(routes, "/version").ends_with(R"({"version":"1.2"})"));
  EXPECT_THAT(answer_of(routes, "/metrics"), HasSubstr("content-type: text/plain; version=0.0.4"));
  EXPECT_TRUE(answer_of(routes, "/metrics").ends_with("\r\n\r\nm 1\n"));
}

TEST(StatusRoutes, MetricsNeedAKeyWhereTheyAreNotOpen) {
  const auto access = [](bool open) {
    const RouteTable table(status_routes({.metrics_open = open}));
    return table.find("GET", "/metrics").route->access;
  };
  EXPECT_EQ(access(true), Access::kOpen);
  EXPECT_EQ(access(false), Access::kMetrics);
}

}  // namespace
}  // namespace hadal::server
