#include "server/metrics.h"

#include <fmt/format.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <sstream>
#include <string_view>
#include <vector>

namespace hadal::server {
namespace {

using Buckets = prometheus::Histogram::BucketBoundaries;
using prometheus::Labels;

const Buckets& first_token_buckets() {
  static const Buckets buckets = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
                                  1,     2.5,   5,    7.5,  10,   20,   40,   80,  160,  640, 2560};
  return buckets;
}

const Buckets& token_buckets() {
  static const Buckets buckets = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3,
                                  0.4,   0.5,    0.75,  1,    2.5,   5,    7.5,   10,  20,   40,  80};
  return buckets;
}

const Buckets& request_buckets() {
  static const Buckets buckets = {0.3, 0.5, 0.8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                  30,  40,  50,  60, 120, 240, 480, 960, 1920, 7680};
  return buckets;
}

/// 1, 2, 5, 10, 20, 50 ... below `last`, and `last`.
Buckets count_buckets(std::int64_t last) {
  Buckets buckets;
  for (std::int64_t ten = 1; ten < last; ten *= 10) {
    for (const std::int64_t factor : {1, 2, 5}) {
      if (ten * factor < last) buckets.push_back(static_cast<double>(ten * factor));
    }
  }
  buckets.push_back(static_cast<double>(last));
  return buckets;
}

/// Whether the request was refused for its key.
bool is_wrong_key(const RequestRecord& record) {
  return (record.status == 401 && !record.refusal.empty()) || record.refusal == "address";
}

std::string finished_reason(const RequestRecord& record) {
  if (record.ending == RequestRecord::Ending::kBrokenOff || record.status >= 500) return "error";
  if (record.ending != RequestRecord::Ending::kComplete) return "abort";
  return record.notes.finish.empty() ? "error" : record.notes.finish;
}

/// Makes the metrics of one server.
class Maker {
 public:
  Maker(prometheus::Registry& registry, const MetricsOptions& options) : registry_(registry), options_(options) {}

  prometheus::Family<prometheus::Counter>& counters(std::string_view name, std::string_view help) {
    return prometheus::BuildCounter().Name(full(name)).Help(std::string(help)).Labels(labels()).Register(registry_);
  }
  prometheus::Family<prometheus::Gauge>& gauges(std::string_view name, std::string_view help) {
    return prometheus::BuildGauge().Name(full(name)).Help(std::string(help)).Labels(labels()).Register(registry_);
  }
  prometheus::Histogram& histogram(std::string_view name, std::string_view help, const Buckets& buckets) {
    return prometheus::BuildHistogram()
        .Name(full(name))
        .Help(std::string(help))
        .Labels(labels())
        .Register(registry_)
        .Add({}, buckets);
  }

 private:
  [[nodiscard]] std::string full(std::string_view name) const { return options_.prefix + std::string(name); }
  [[nodiscard]] Labels labels() const { return {{"model_name", options_.model}, {"engine", "0"}}; }

  prometheus::Registry& registry_;
  const MetricsOptions& options_;
};

/// What engine, server and replay map count themselves.
struct Sources {
  const engine::ServiceFigures& engine;
  const HttpFigures& http;
  const api::ReplayFigures& replays;
};

/// One of these figures.
struct Reading {
  bool is_counter;
  std::string_view name, help;
  double (*value)(const Sources&);
  std::string_view label = "", label_value = "";
};

using engine::ServiceFigures;

template <auto Member>
double engine_value(const Sources& from) {
  return static_cast<double>(from.engine.*Member);
}

template <auto Member>
double http_value(const Sources& from) {
  return static_cast<double>(from.http.*Member);
}

template <auto Member>
double replay_value(const Sources& from) {
  return static_cast<double>(from.replays.*Member);
}

constexpr std::string_view kHits = "prefix_cache_hits_total";
constexpr std::string_view kHitsHelp = "Tokens of prompts that came from the prefix cache, by where it had them.";
constexpr std::string_view kReasons = "num_requests_waiting_by_reason";
constexpr std::string_view kReasonsHelp =
    "Requests that wait: for room in the batch (capacity), or for another one to compute a prefix that they share.";
constexpr std::string_view kBytes = "kv_cache_bytes";
constexpr std::string_view kBytesHelp = "Bytes of kept states by where they lie.";

constexpr std::array kReadings = {
    Reading{false, "num_requests_running", "Requests in the batch.", engine_value<&ServiceFigures::running>},
    Reading{false, "num_requests_waiting", "Requests that wait for a place in the batch.",
            engine_value<&ServiceFigures::waiting>},
    Reading{false, kReasons, kReasonsHelp,
            [](const Sources& from) { return static_cast<double>(from.engine.waiting - from.engine.deferred); },
            "reason", "capacity"},
    Reading{false, kReasons, kReasonsHelp, engine_value<&ServiceFigures::deferred>, "reason", "deferred"},
    Reading{false, "num_requests_put_away", "Requests whose state makes room for others.",
            engine_value<&ServiceFigures::put_away>},
    Reading{true, "num_preemptions_total", "Requests put away to make room.",
            engine_value<&ServiceFigures::preemptions>},
    Reading{true, "num_preemptions_to_disk_total", "Of them, those whose state went to a file.",
            engine_value<&ServiceFigures::preemptions_to_disk>},
    Reading{true, "engine_steps_total", "Steps of the model.", engine_value<&ServiceFigures::steps>},
    Reading{true, "prompt_tokens_total", "Tokens of prompts that were computed.",
            engine_value<&ServiceFigures::prompt_tokens>},
    Reading{true, "prompt_tokens_cached_total", "Tokens of prompts that came from the prefix cache.",
            engine_value<&ServiceFigures::cached_tokens>},
    Reading{true, kHits, kHitsHelp,
            [](const Sources& from) {
              return static_cast<double>(from.engine.cached_tokens - from.engine.cached_tokens_on_disk);
            },
            "tier", "memory"},
    Reading{true, kHits, kHitsHelp, engine_value<&ServiceFigures::cached_tokens_on_disk>, "tier", "disk"},
    Reading{true, "prefix_cache_queries_total", "Tokens of prompts that were looked up in the prefix cache.",
            engine_value<&ServiceFigures::queried_tokens>},
    Reading{true, "generation_tokens_total", "Tokens of answers.", engine_value<&ServiceFigures::answer_tokens>},
    Reading{true, "spec_decode_num_drafts_total", "Steps that tried drafted tokens.",
            engine_value<&ServiceFigures::rounds>},
    Reading{true, "spec_decode_num_draft_tokens_total", "Drafted tokens.", engine_value<&ServiceFigures::drafted>},
    Reading{true, "spec_decode_num_accepted_tokens_total", "Drafted tokens that were kept.",
            engine_value<&ServiceFigures::accepted>},
    Reading{true, "prefix_cache_evictions_total", "States that the prefix cache gave up for others.",
            [](const Sources& from) {
              return static_cast<double>(from.engine.cache.evictions + from.engine.cache.disk.evictions);
            }},
    Reading{true, "prefix_cache_corrupt_total", "Files of the prefix cache that could not serve.",
            [](const Sources& from) { return static_cast<double>(from.engine.cache.disk.corrupt); }},
    Reading{false, kBytes, kBytesHelp,
            [](const Sources& from) { return static_cast<double>(from.engine.cache.memory_bytes); }, "tier", "memory"},
    Reading{false, kBytes, kBytesHelp,
            [](const Sources& from) { return static_cast<double>(from.engine.cache.disk.bytes); }, "tier", "disk"},
    Reading{false, "kv_cache_usage_perc", "Share of the state pages in use, 0 to 1.",
            [](const Sources& from) {
              if (from.engine.pages == 0) return 0.0;
              return 1 - static_cast<double>(from.engine.free_pages) / static_cast<double>(from.engine.pages);
            }},
    Reading{true, "replay_hits_total", "Own turns that came back and were known by their tokens.",
            replay_value<&api::ReplayFigures::hits>},
    Reading{true, "replay_misses_total", "Turns that came back and were not known.",
            replay_value<&api::ReplayFigures::misses>},
    Reading{false, "http_connections", "Open connections.", http_value<&HttpFigures::connections>},
    Reading{false, "http_requests_under_way", "Requests that are being answered.", http_value<&HttpFigures::requests>},
    Reading{true, "http_connections_accepted_total", "Connections.", http_value<&HttpFigures::accepted>},
    Reading{true, "http_connections_refused_total", "Connections beyond a limit.", http_value<&HttpFigures::refused>},
    Reading{true, "stream_stalls_total", "Answers given up because nobody read them.",
            http_value<&HttpFigures::stalls>},
};

Labels labels_of(const Reading& reading) {
  if (reading.label.empty()) return {};
  return {{std::string(reading.label), std::string(reading.label_value)}};
}

/// Brings a counter up to a figure that is counted elsewhere.
void raise(prometheus::Counter& counter, double value) { counter.Increment(std::max(0.0, value - counter.Value())); }

}  // namespace

struct Metrics::Parts {
  explicit Parts(const MetricsOptions& options);
  /// Tells how the engine was set up, as soon as it is there.
  void describe(const engine::ServiceFigures& engine);

  prometheus::Registry registry;
  std::vector<prometheus::Counter*> counters;     // by reading; null for gauges
  std::vector<prometheus::Gauge*> gauges;         // by reading; null for counters
  std::vector<prometheus::Counter*> accepted_at;  // by place in a round of drafts
  prometheus::Family<prometheus::Gauge>* setting;
  bool described = false;
  std::mutex reading_mutex;  // guards `described` and steps of counters, which are two calls

  prometheus::Family<prometheus::Counter>*requests, *finished, *wrong_keys, *limited;
  prometheus::Counter *request_bytes, *answer_bytes, *reasoning_tokens, *reasoning_missing;
  prometheus::Histogram *first_token, *gap, *per_token, *whole, *queue, *prefill, *decode, *inference;
  prometheus::Histogram *prompt_count, *answer_count, *max_tokens, *choices;
  prometheus::Histogram *step_tokens, *step_seconds, *ledger_commit;
  prometheus::Gauge* batch_tokens;
};

Metrics::Parts::Parts(const MetricsOptions& options) {
  Maker make(registry, options);
  for (const Reading& reading : kReadings) {
    const Labels labels = labels_of(reading);
    counters.push_back(reading.is_counter ? &make.counters(reading.name, reading.help).Add(labels) : nullptr);
    gauges.push_back(reading.is_counter ? nullptr : &make.gauges(reading.name, reading.help).Add(labels));
  }
  auto& places = make.counters("spec_decode_num_accepted_tokens_per_pos_total",
                               "Drafted tokens that were kept, by their place in the draft.");
  for (std::size_t at = 0; at < ServiceFigures::kDraftPositions; ++at) {
    accepted_at.push_back(&places.Add({{"position", fmt::to_string(at)}}));
  }
  setting = &make.gauges("cache_config_info", "How the engine was set up; always 1.");
  requests = &make.counters("http_requests_total", "Requests by family, path and status.");
  finished = &make.counters("request_success_total", "Generations by how they ended.");
  wrong_keys = &make.counters("auth_failures_total", "Requests without a valid key.");
  limited = &make.counters("rate_limited_total", "Requests beyond a limit.");
  request_bytes = &make.counters("http_request_bytes_total", "Bytes of request bodies.").Add({});
  answer_bytes = &make.counters("http_response_bytes_total", "Bytes of answers, with heads.").Add({});
  reasoning_tokens = &make.counters("reasoning_tokens_total", "Tokens of answers that were reasoning.").Add({});
  reasoning_missing =
      &make.counters("reasoning_missing_total", "Turns with calls that came back without their reasoning.").Add({});
  first_token =
      &make.histogram("time_to_first_token_seconds", "From the request to its first token.", first_token_buckets());
  gap = &make.histogram("inter_token_latency_seconds", "Between two pieces of an answer.", token_buckets());
  per_token = &make.histogram("request_time_per_output_token_seconds", "Mean time for a token behind the first.",
                              token_buckets());
  whole =
      &make.histogram("e2e_request_latency_seconds", "From the request to the end of its answer.", request_buckets());
  queue = &make.histogram("request_queue_time_seconds", "Until a place in the batch was free.", request_buckets());
  prefill = &make.histogram("request_prefill_time_seconds", "From admission to the first token.", request_buckets());
  decode = &make.histogram("request_decode_time_seconds", "From the first token to the last.", request_buckets());
  inference = &make.histogram("request_inference_time_seconds", "From admission to the last token.", request_buckets());
  const Buckets counts = count_buckets(options.context);
  prompt_count = &make.histogram("request_prompt_tokens", "Tokens of a prompt.", counts);
  answer_count = &make.histogram("request_generation_tokens", "Tokens of an answer.", counts);
  max_tokens = &make.histogram("request_params_max_tokens", "Tokens that an answer may have.", counts);
  choices = &make.histogram("request_params_n", "Answers that a request asks for.", {1, 2, 5, 10, 20});
  step_tokens = &make.histogram("iteration_tokens_total", "Tokens that a step of the model computed.", counts);
  step_seconds = &make.histogram("engine_step_seconds", "Time of a step of the model.", token_buckets());
  batch_tokens = &make.gauges("engine_batch_tokens", "Tokens that the last step of the model computed.").Add({});
  ledger_commit =
      &make.histogram("ledger_commit_seconds", "Until a group of records was on the ledger's disk.", token_buckets());
}

void Metrics::Parts::describe(const engine::ServiceFigures& engine) {
  if (described || engine.page_tokens == 0) return;
  described = true;
  setting
      ->Add({{"block_size", fmt::to_string(engine.page_tokens)},
             {"num_blocks", fmt::to_string(engine.pages)},
             {"max_num_seqs", fmt::to_string(engine.slots)}})
      .Set(1);
}

Metrics::Metrics(const MetricsOptions& options) : parts_(std::make_unique<Parts>(options)) {}

Metrics::~Metrics() = default;

void Metrics::token_gap(double seconds) { parts_->gap->Observe(seconds); }

void Metrics::step(const engine::StepFigures& figures) {
  const auto tokens = static_cast<double>(figures.tokens);
  parts_->step_tokens->Observe(tokens);
  parts_->step_seconds->Observe(figures.seconds);
  parts_->batch_tokens->Set(tokens);
}

void Metrics::ledger_commit(double seconds) { parts_->ledger_commit->Observe(seconds); }

void Metrics::reasoning_missing(std::int64_t turns) {
  parts_->reasoning_missing->Increment(static_cast<double>(turns));
}

void Metrics::request_ended(const RequestRecord& record) {
  Parts& parts = *parts_;
  const RequestNotes& notes = record.notes;
  parts.requests
      ->Add({{"family", record.family == api::Family::kDeepSeek ? "deepseek" : "openai"},
             {"endpoint", record.route},
             {"code", fmt::to_string(record.status)}})
      .Increment();
  parts.request_bytes->Increment(static_cast<double>(record.request_bytes));
  parts.answer_bytes->Increment(static_cast<double>(record.answer_bytes));
  if (is_wrong_key(record)) {
    parts.wrong_keys->Add({{"reason", record.refusal}}).Increment();
  } else if (record.status == 429) {
    parts.limited->Add({{"kind", record.refusal}}).Increment();
  }
  if (notes.prompt_tokens == 0) return;  // it did not come as far as the engine
  parts.finished->Add({{"finished_reason", finished_reason(record)}}).Increment();
  parts.reasoning_tokens->Increment(static_cast<double>(notes.reasoning_tokens));
  parts.prompt_count->Observe(static_cast<double>(notes.prompt_tokens));
  parts.answer_count->Observe(static_cast<double>(notes.answer_tokens));
  parts.max_tokens->Observe(static_cast<double>(notes.max_tokens));
  parts.choices->Observe(static_cast<double>(notes.choices));
  parts.whole->Observe(record.seconds);
  parts.queue->Observe(notes.queue_seconds);
  if (notes.first_token_seconds < 0) return;
  const double decoding = std::max(0.0, record.seconds - notes.first_token_seconds);
  parts.first_token->Observe(notes.first_token_seconds);
  parts.prefill->Observe(std::max(0.0, notes.first_token_seconds - notes.queue_seconds));
  parts.decode->Observe(decoding);
  parts.inference->Observe(std::max(0.0, record.seconds - notes.queue_seconds));
  if (notes.answer_tokens > 1) parts.per_token->Observe(decoding / static_cast<double>(notes.answer_tokens - 1));
}

std::string Metrics::text(const engine::ServiceFigures& engine, const HttpFigures& http,
                          const api::ReplayFigures& replays) {
  Parts& parts = *parts_;
  {
    const std::lock_guard lock(parts.reading_mutex);
    for (std::size_t at = 0; at < kReadings.size(); ++at) {
      const double value = kReadings[at].value({.engine = engine, .http = http, .replays = replays});
      if (prometheus::Counter* counter = parts.counters[at]) {
        raise(*counter, value);
      } else {
        parts.gauges[at]->Set(value);
      }
    }
    for (std::size_t at = 0; at < parts.accepted_at.size(); ++at) {
      raise(*parts.accepted_at[at], static_cast<double>(engine.accepted_at[at]));
    }
    parts.describe(engine);
  }
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, parts.registry.Collect());
  return std::move(out).str();
}

}  // namespace hadal::server
