// What the way through HTTP costs, on nano: tokens a second of many streams against those of the engine alone with the
// same requests in the same run, and the time that one stream's tokens are under way from the engine to their client.
//
// Usage: serving_bench [STREAMS [TOKENS [THREADS]]]   (64, 128, all processors). Prints CSV.

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "api/prompt.h"
#include "backends/cpu/cpu_backend.h"
#include "event_client.h"
#include "formats/checkpoint.h"
#include "model/executor.h"
#include "model/numerics.h"
#include "server/generation_request.h"
#include "server/http_server.h"
#include "server/inference_handlers.h"
#include "server/random_bits.h"

namespace hadal::bench {
namespace {

using Clock = std::chrono::steady_clock;

template <class T>
T must(Result<T> result) {
  if (result) return std::move(*result);
  fmt::print(stderr, "serving_bench: {}\n", result.error().message);
  std::exit(1);
}

double quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<std::size_t>(share * static_cast<double>(values.size())))];
}

/// nano with room for so many answers.
struct Engine {
  Engine(int streams, int threads) {
    backend = must(cpu::CpuBackend::create(threads));
    checkpoint = must(formats::Checkpoint::open(std::filesystem::path(HADAL_SOURCE_DIR) / "models/nano/checkpoint"));
    model =
        must(model::Model::load(*backend, *checkpoint, checkpoint->config(), must(model::numerics_profile("bf16"))));
    tokenizer.emplace(must(text::Tokenizer::load(checkpoint->directory())));
    pool = must(model::StatePool::create(*backend, model->state_layout(), streams, streams * kContext / 128));
    executor = must(model::Executor::create(*model, *pool,
                                            {.max_rows = 512 + 2 * streams,
                                             .max_sequences = streams,
                                             .max_logits_rows = 2 * streams,
                                             .max_tokens = kContext,
                                             .max_drafts = 0}));
  }

  static constexpr std::int64_t kContext = 1024;
  std::unique_ptr<ops::Backend> backend;
  std::unique_ptr<formats::Checkpoint> checkpoint;
  std::unique_ptr<model::Model> model;
  std::optional<text::Tokenizer> tokenizer;
  std::unique_ptr<model::StatePool> pool;
  std::unique_ptr<model::Executor> executor;
};

/// Counts ends, and notes when tokens left the engine.
class Sink final : public engine::RequestSink {
 public:
  Sink(std::mutex& mutex, std::condition_variable& changed, int& ended, std::vector<Clock::time_point>& times)
      : mutex_(mutex), changed_(changed), ended_(ended), times_(times) {}
  Status prefilled(std::int64_t /*done*/, std::int64_t /*total*/) override { return {}; }
  Result<bool> token(const engine::TokenEvent& /*event*/) override {
    times_.push_back(Clock::now());
    return false;
  }
  Status tail(std::string_view /*text*/) override { return {}; }
  void admitted(const engine::Admission& /*admission*/) override {}
  bool ready() const override { return true; }
  void finished(const engine::RequestResult& /*result*/) override {
    const std::lock_guard lock(mutex_);
    ++ended_;
    changed_.notify_all();
  }

 private:
  std::mutex& mutex_;
  std::condition_variable& changed_;
  int& ended_;
  std::vector<Clock::time_point>& times_;
};

std::string body(int stream, int tokens) {
  return fmt::format(R"({{"model":"nano","stream":true,"ignore_eos":true,"temperature":1,"seed":{},"max_tokens":{},)"
                     R"("thinking":{{"type":"disabled"}},"cache_prompt":false,"messages":[{{"role":"user",)"
                     R"("content":"Tell a story about the number {} and a little dog that likes to swim."}}]}})",
                     stream, tokens, stream);
}

/// What a run took, and the times between the tokens of a stream.
struct Run {
  double seconds = 0;
  std::vector<double> gaps{};   // seconds
  std::vector<double> first{};  // from the request to the first token
  double client_seconds = 0;    // processor time of the load generator
};

void add_gaps(Run& run, const std::vector<Clock::time_point>& times) {
  for (std::size_t i = 1; i < times.size(); ++i) {
    run.gaps.push_back(std::chrono::duration<double>(times[i] - times[i - 1]).count());
  }
}

/// The requests given to the engine itself.
Run alone(Engine& engine, const server::ApiContext& context, int streams, int tokens) {
  std::vector<engine::ServiceRequest> requests;
  for (int i = 0; i < streams; ++i) {
    const auto parsed = must(text::parse_json(body(i, tokens)));
    const auto chat = api::read_chat(api::Family::kOpenAi, parsed, context.settings);
    const auto ids = api::encode(*engine.tokenizer, *api::render_prompt(*chat));
    requests.push_back(server::engine_request(context.served, *chat, {.ids = {ids->begin(), ids->end()}}, {}, tokens,
                                              static_cast<std::uint64_t>(i), 0));
  }
  std::mutex mutex;
  std::condition_variable changed;
  int ended = 0;
  std::vector<std::vector<Clock::time_point>> times(static_cast<std::size_t>(streams));
  const auto begin = Clock::now();
  for (std::size_t i = 0; i < requests.size(); ++i) {
    (void)must(context.served.service->submit(std::move(requests[i]),
                                              std::make_shared<Sink>(mutex, changed, ended, times[i])));
  }
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return ended == streams; });
  Run run{.seconds = std::chrono::duration<double>(Clock::now() - begin).count()};
  for (const auto& stream : times) {
    add_gaps(run, stream);
    run.first.push_back(std::chrono::duration<double>(stream.front() - begin).count());
  }
  return run;
}

/// The same over HTTP.
Run served(std::uint16_t port, int streams, int tokens) {
  std::vector<std::string> bodies;
  for (int i = 0; i < streams; ++i) bodies.push_back(body(i, tokens));
  const LoadResult result = load(port, "/v1/chat/completions", bodies);
  Run run{.seconds = result.seconds, .client_seconds = result.cpu_seconds};
  for (const StreamTimes& stream : result.streams) {
    if (!stream.complete || stream.events.empty()) {
      fmt::print(stderr, "serving_bench: a stream broke off\n");
      std::exit(1);
    }
    add_gaps(run, stream.events);
    run.first.push_back(std::chrono::duration<double>(stream.events.front() - stream.sent).count());
  }
  return run;
}

void print(const char* way, int streams, int tokens, const Run& run) {
  fmt::print("{},{},{},{:.1f},{:.3f},{:.3f},{:.3f},{:.3f},{:.3f}\n", way, streams, tokens,
             streams * tokens / run.seconds, 1e3 * quantile(run.first, 0.5), 1e3 * quantile(run.gaps, 0.5),
             1e3 * quantile(run.gaps, 0.99), run.client_seconds, run.seconds);
}

int main_of(int argc, char** argv) {
  const int streams = argc > 1 ? std::atoi(argv[1]) : 64;
  const int tokens = argc > 2 ? std::atoi(argv[2]) : 128;
  const int threads = argc > 3 ? std::atoi(argv[3]) : 0;
  Engine engine(streams, threads);
  const auto service = must(engine::Service::start(*engine.executor, nullptr, nullptr, {}));
  const auto keys = server::Keys::for_everyone({});
  server::RateLimiter limiter;
  api::ReplayMap replays;
  api::ServedModel model{.id = "nano", .display_name = "nano"};
  model.context = Engine::kContext;
  model.vocab_size = engine.checkpoint->config().vocab_size;
  server::ApiContext context{.models = must(api::ModelTable::create({model}))};
  context.served = {.model = &context.models.models().front(),
                    .tokenizer = &*engine.tokenizer,
                    .service = service.get(),
                    .markers = server::MarkerTokens::of(*engine.tokenizer)};
  context.settings.models = &context.models;
  context.keys = keys.get();
  context.limiter = &limiter;
  context.replays = &replays;
  context.random = server::random_bits;
  const auto http = must(
      server::HttpServer::start({.port = 0}, server::inference_routes(context), {.gate = server::make_gate(context)}));
  fmt::print(
      "way,streams,tokens_each,tokens_per_second,first_token_ms_p50,between_ms_p50,between_ms_p99,"
      "client_cpu_seconds,seconds\n");
  for (const int count : {1, streams}) {
    double best_alone = 0, best_served = 0, gap_alone = 1e9, gap_served = 1e9;
    for (int pass = 0; pass < 3; ++pass) {  // taking turns, so that a slow moment meets both
      const Run engine_run = alone(engine, context, count, tokens);
      const Run http_run = served(http->port(), count, tokens);
      print("engine", count, tokens, engine_run);
      print("http", count, tokens, http_run);
      best_alone = std::max(best_alone, count * tokens / engine_run.seconds);
      best_served = std::max(best_served, count * tokens / http_run.seconds);
      gap_alone = std::min(gap_alone, quantile(engine_run.gaps, 0.5));
      gap_served = std::min(gap_served, quantile(http_run.gaps, 0.5));
    }
    fmt::print("# {} streams: http / engine = {:.3f}; added to the median time of a token: {:.3f} ms\n", count,
               best_served / best_alone, 1e3 * (gap_served - gap_alone));
  }
  return 0;
}

}  // namespace
}  // namespace hadal::bench

int main(int argc, char** argv) { return hadal::bench::main_of(argc, argv); }
