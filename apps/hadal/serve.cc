#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <memory>
#include <optional>

#include "base/log.h"
#include "base/mapped_file.h"
#include "base/sha256.h"
#include "base/units.h"
#include "command.h"
#include "engine/draft_policy.h"
#include "engine/prefix_cache.h"
#include "engine/service.h"
#include "formats/release.h"
#include "open_model.h"
#include "serve_options.h"
#include "serve_signals.h"
#include "server/access_log.h"
#include "server/api_context.h"
#include "server/http_server.h"
#include "server/inference_handlers.h"
#include "server/log_file.h"
#include "server/metrics.h"
#include "server/model_handlers.h"
#include "server/page_handlers.h"
#include "server/random_bits.h"
#include "server/status_routes.h"
#include "shipped_model.h"
#include "standard_streams.h"
#include "text/chat_render.h"

namespace hadal::apps {
namespace {

using std::chrono::seconds;

/// The sampled ids of earlier turns, in a file beside the cached prefixes that they lead to.
class ReplayFile {
 public:
  ReplayFile() = default;
  ReplayFile(api::ReplayMap& map, std::filesystem::path path, const Hash128& identity)
      : map_(&map), path_(std::move(path)), identity_(identity) {}

  /// Takes in what an earlier server left. A file of no use is told and then replaced.
  void load() {
    std::error_code ignored;
    if (map_ == nullptr || !std::filesystem::exists(path_, ignored)) return;
    constexpr std::int64_t kMost = std::int64_t{1} << 30;
    const Result<std::string> bytes = read_file(path_, kMost);
    const Status taken = bytes ? map_->load(*bytes, identity_) : Status(tl::unexpected(bytes.error()));
    if (!taken)
      log::warning("{}: turns of earlier conversations are forgotten: {}", path_.string(), taken.error().message);
  }

  /// Writes what is known, if it has changed.
  void save() {
    if (map_ == nullptr) return;
    const api::ReplayFigures now = map_->figures();
    if (now.turns == turns_ && now.bytes == bytes_ && now.evictions == evictions_) return;
    const Status saved = write_file_atomically(path_, map_->save(identity_), 0600);
    if (!saved) {
      log::warning("turns of conversations will be forgotten at the end: {}", saved.error().message);
      return;
    }
    turns_ = now.turns;
    bytes_ = now.bytes;
    evictions_ = now.evictions;
  }

 private:
  api::ReplayMap* map_ = nullptr;  // null: nothing is kept
  std::filesystem::path path_;
  Hash128 identity_{};
  std::size_t turns_ = 0, bytes_ = 0;
  std::int64_t evictions_ = 0;
};

/// Everything that serves; members are destroyed from the last to the first. Without `loaded` only what open_accounts
/// and make_context fill is looked at.
struct Server {
  LoadedModel model;
  std::unique_ptr<engine::PrefixCache> cache;
  std::unique_ptr<server::Keys> keys;
  server::RateLimiter limiter;
  api::ReplayMap replays;
  ReplayFile replay_file;
  std::unique_ptr<server::Metrics> metrics;
  std::unique_ptr<server::Ledger> ledger;
  std::unique_ptr<server::LogFile> access_log, content_log;
  server::RunningAnswers running;
  std::unique_ptr<engine::Service> service;  // its thread ends answers, which uses all above
  std::unique_ptr<server::ApiContext> context;
  std::unique_ptr<server::HttpServer> http;
  std::atomic<bool> loaded = false;  // everything is there: the network thread looks at it
};

constexpr std::int64_t kDefaultContext = 65536;

std::int64_t served_context(const ServeOptions& options, const formats::ModelConfig& config) {
  if (options.model.context > 0) return options.model.context;
  const std::int64_t most = config.max_position_embeddings;
  return most > 0 ? std::min(kDefaultContext, most) : kDefaultContext;
}

/// Id and names of the model that clients see.
api::ServedModel served_model(const ServeOptions& options, const LoadedModel& loaded) {
  const std::string release =
      formats::release_name(loaded.checkpoint->config(), formats::DrafterFields::kNone, std::nullopt);
  std::optional<api::ServedModel> model;
  if (release.starts_with("DeepSeek-V4-Flash")) model = api::official_model("flash");
  if (release.starts_with("DeepSeek-V4-Pro")) model = api::official_model("pro");
  if (options.model.checkpoint == kShippedModel) model = api::official_model("nano");
  if (!model) {
    model.emplace();
    model->id = model->display_name = loaded.checkpoint->directory().filename().string();
  }
  if (!options.served_name.empty()) model->id = options.served_name;
  for (const std::string& alias : options.aliases) model->aliases.push_back({alias, std::nullopt});
  if (!options.thinking.empty()) model->thinking = options.thinking == "on";
  model->context = served_context(options, loaded.checkpoint->config());
  model->max_output = std::min(model->max_output, model->context);
  model->vocab_size = loaded.checkpoint->config().vocab_size;
  model->revision = text::detect_chat_revision(loaded.checkpoint->directory());
  return std::move(*model);
}

bool loopback_only(const std::vector<std::string>& addresses) {
  return std::all_of(addresses.begin(), addresses.end(),
                     [](const std::string& address) { return address.starts_with("127.") || address == "::1"; });
}

Status open_accounts(const ServeOptions& options, Server& server) {
  if (!options.keys.empty()) {
    HADAL_ASSIGN(server.keys, server::Keys::open({.path = options.keys,
                                                  .account_limits = {.concurrent = options.account_concurrency}}));
  } else {
    if (!loopback_only(options.http.addresses) && !options.no_auth) {
      return fail(ErrorCode::kInvalidArgument,
                  "without keys everybody who reaches the server could use it; name a file of keys by --keys (see "
                  "`hadal keys --help`), serve on 127.0.0.1 only, or say --no-auth");
    }
    server.keys = server::Keys::for_everyone({});
  }
  if (!options.access_log.empty()) {
    HADAL_ASSIGN(server.access_log, server::LogFile::open(options.access_log, server::LogFile::Readers::kGroup));
  }
  if (!options.content_log.empty()) {
    HADAL_ASSIGN(server.content_log, server::LogFile::open(options.content_log, server::LogFile::Readers::kOwner));
    log::warning("{}: what clients ask and what they are answered is written here", options.content_log);
  }
  if (!options.ledger.empty()) {
    HADAL_ASSIGN(server.ledger, server::Ledger::open({.path = options.ledger, .on_commit = [&server](double taken) {
                                                        server.metrics->ledger_commit(taken);
                                                      }}));
  }
  return {};
}

Result<std::optional<server::CacheIsolation>> isolation(const std::string& name) {
  if (name.empty()) return std::optional<server::CacheIsolation>();
  if (name == "none") return std::optional(server::CacheIsolation::kNone);
  return std::optional(name == "key" ? server::CacheIsolation::kKey : server::CacheIsolation::kUser);
}

/// All of the context but the engine.
Status make_context(const ServeOptions& options, Server& server) {
  HADAL_ASSIGN(api::ModelTable models,
               api::ModelTable::create({served_model(options, server.model)}, options.accept_any_model));
  server.context = std::make_unique<server::ApiContext>(server::ApiContext{.models = std::move(models)});
  server::ApiContext& context = *server.context;
  context.served.model = &context.models.models().front();
  context.settings = {.models = &context.models,
                      .max_choices = options.max_choices,
                      .strict_fields = options.strict_fields,
                      .strict_reasoning = options.strict_reasoning};
  if (!options.sampling.empty()) {
    context.settings.policy =
        options.sampling == "official" ? api::SamplingPolicy::kOfficial : api::SamplingPolicy::kClient;
  }
  HADAL_ASSIGN(context.isolation, isolation(options.isolation));
  context.request_time = seconds(options.request_timeout);
  context.queue_time = seconds(options.queue_timeout);
  context.body_limits.bytes = static_cast<std::size_t>(options.http.limits.body);
  context.keys = server.keys.get();
  context.limiter = &server.limiter;
  context.ledger = server.ledger.get();
  context.replays = &server.replays;
  context.content_log = server.content_log.get();
  if (options.revoke_aborts) context.running = &server.running;
  server.metrics = std::make_unique<server::Metrics>(server::MetricsOptions{
      .prefix = options.metrics_prefix, .model = context.served.model->id, .context = context.served.model->context});
  context.metrics = server.metrics.get();
  context.random = server::random_bits;
  return {};
}

Status start_engine(const ServeOptions& options, Server& server) {
  LoadedModel& loaded = server.model;
  HADAL_TRY(load_weights(options.model, loaded));
  if (!loaded.tokenizer) {
    return fail(
        ErrorCode::kUnsupported,
        fmt::format("{}: has no tokenizer, which a server needs; name one by --tokenizer", options.model.checkpoint));
  }
  const std::int64_t context = served_context(options, loaded.model->config());
  const bool drafts = options.drafts != "off";
  const std::int64_t most_drafts = std::max(options.max_drafts, loaded.model->config().dspark.block_size);
  const model::StateLayout layout = loaded.model->state_layout();
  const std::int64_t pages_each = (context + ops::kPageTokens - 1) / ops::kPageTokens;
  std::int64_t budget = loaded.memory / 2;
  if (!options.state_memory.empty()) {
    HADAL_ASSIGN(budget, parse_bytes(options.state_memory));
  }
  const std::int64_t page_budget =
      layout.page_bytes == 0 ? pages_each : (budget - options.parallel * layout.slot_bytes) / layout.page_bytes;
  const std::int64_t pages = std::clamp(page_budget, pages_each, options.parallel * pages_each);
  HADAL_TRY(make_executor(loaded,
                          {.max_rows = options.model.chunk + options.parallel * (most_drafts + 1),
                           .max_sequences = options.parallel,
                           .max_logits_rows = options.parallel * (most_drafts + 1),
                           .max_tokens = context,
                           .max_drafts = drafts ? options.max_drafts : 0},
                          pages));
  HADAL_ASSIGN(const std::string fingerprint, loaded.checkpoint->fingerprint());
  engine::PrefixCacheOptions cache{.fingerprint = fingerprint};
  HADAL_ASSIGN(cache.memory_bytes, parse_bytes(options.cache_memory));
  HADAL_ASSIGN(cache.disk_bytes, parse_bytes(options.cache_disk));
  // Each model has a folder of its own, since a store keeps the states of one.
  if (!options.cache_directory.empty()) {
    cache.directory = std::filesystem::path(options.cache_directory) / fingerprint.substr(0, 16);
  }
  HADAL_ASSIGN(server.cache, engine::PrefixCache::create(*loaded.executor, cache));
  if (!cache.directory.empty()) {
    server.replay_file =
        ReplayFile(server.replays, cache.directory / "turns", engine::prefix_model_key(fingerprint, *loaded.executor));
    server.replay_file.load();
  }
  HADAL_ASSIGN(server.service,  // The API turns tokens into text itself.
               engine::Service::start(
                   *loaded.executor, server.cache.get(), nullptr,
                   {.queue_length = options.queue,
                    .step_delay = std::chrono::milliseconds(options.step_delay),
                    .on_step = [&metrics = *server.metrics](const engine::StepFigures& step) { metrics.step(step); }}));
  return {};
}

/// What answers need of the model.
Status connect_engine(const ServeOptions& options, Server& server) {
  const LoadedModel& loaded = server.model;
  const text::Tokenizer& tokenizer = *loaded.tokenizer;
  server::ServedEngine& served = server.context->served;
  served.tokenizer = &tokenizer;
  served.service = server.service.get();
  served.markers = server::MarkerTokens::of(tokenizer);
  if (const auto eos = tokenizer.eos_id()) served.stop_tokens.push_back(*eos);
  served.sorted_tokens = std::make_shared<engine::SortedTokens>(tokenizer, loaded.checkpoint->config().vocab_size);
  HADAL_ASSIGN(const std::string weights, loaded.checkpoint->fingerprint());
  served.fingerprint = "fp_" + sha256_hex(fmt::format("{} {} {} {}", weights, loaded.backend->name(),
                                                      loaded.backend->instruction_set(), loaded.model->profile().name))
                                   .substr(0, 10);
  HADAL_ASSIGN(served.drafts, engine::draft_mode(options.drafts));
  if (!options.script.empty()) {
    constexpr std::int64_t kMostScript = std::int64_t{64} << 20;
    HADAL_ASSIGN(const std::string lines, read_file(options.script, kMostScript));
    HADAL_ASSIGN(served.script, server::AnswerScript::parse(lines, options.script, tokenizer));
  }
  return {};
}

server::StatusSources status_sources(const ServeOptions& options, const Server& server) {
  const auto readiness = [&server, queue = options.queue] {
    if (!server.loaded) return server::Readiness::kLoading;
    if (server.http->phase() == server::ServingPhase::kDraining) return server::Readiness::kDraining;
    return server.service->figures().waiting >= queue ? server::Readiness::kFull : server::Readiness::kReady;
  };
  const auto metrics = [&server] {
    if (!server.loaded) return server.metrics->text({}, {});
    return server.metrics->text(server.service->figures(), server.http->figures(), server.replays.figures());
  };
  return {.version = HADAL_VERSION,
          .readiness = readiness,
          .metrics = metrics,
          .metrics_open = options.metrics_open || loopback_only(options.http.addresses)};
}

Status listen(const ServeOptions& options, Server& server) {
  server::HttpOptions http = options.http;
  http.idle_time = seconds(options.keep_alive);
  http.write_time = seconds(options.write_timeout);
  http.phase = server::ServingPhase::kLoading;
  std::vector<server::Route> routes = server::inference_routes(*server.context);
  for (server::Route& route : server::model_routes(*server.context)) routes.push_back(std::move(route));
  for (server::Route& route : server::token_routes(*server.context)) routes.push_back(std::move(route));
  for (server::Route& route : server::page_routes()) routes.push_back(std::move(route));
  for (server::Route& route : server::status_routes(status_sources(options, server))) {
    routes.push_back(std::move(route));
  }
  HADAL_ASSIGN(server.http, server::HttpServer::start(std::move(http), std::move(routes),
                                                      {.gate = server::make_gate(*server.context),
                                                       .on_ended = [&server](const server::RequestRecord& record) {
                                                         server.metrics->request_ended(record);
                                                         if (server.access_log)
                                                           server.access_log->write(server::access_line(record));
                                                       }}));
  return {};
}

std::string base_url(const ServeOptions& options, const Server& server) {
  const std::string host = options.http.addresses.front();
  return fmt::format("http://{}:{}", host.find(':') == std::string::npos ? host : "[" + host + "]",
                     server.http->port());
}

/// Logs that another program has moved away begin anew; keys are read again.
void reload(Server& server) {
  if (server.access_log) server.access_log->reopen();
  if (server.content_log) server.content_log->reopen();
  if (const Status reloaded = server.keys->reload(); !reloaded) {
    log::error("the keys in force stay: {}", reloaded.error().message);
  }
}

/// Ends the program while another thread loads: that cannot be told to stop, and has nothing that must be kept.
[[noreturn]] void end_while_loading(Server& server) {
  fmt::print(stderr, "Ending: the model was still being loaded.\n");
  server.http->stop();
  server.access_log.reset();  // writes what waits
  std::_Exit(0);
}

/// Loads the model while the server tells its clients so.
Status load(const ServeOptions& options, Server& server, ServeSignals& signals) {
  std::future<Status> loading = std::async(std::launch::async, [&]() -> Status {
    HADAL_TRY(start_engine(options, server));
    return connect_engine(options, server);
  });
  constexpr std::chrono::milliseconds kLook{20};
  while (loading.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    const ServeSignals::Event event = signals.wait(kLook);
    if (event == ServeSignals::Event::kEnd) end_while_loading(server);
    if (event == ServeSignals::Event::kReload) reload(server);
  }
  HADAL_TRY(loading.get());
  server.loaded = true;
  server.http->begin_serving();
  return {};
}

void end_answers_of_revoked_keys(Server& server) {
  const auto today = std::chrono::floor<seconds>(std::chrono::system_clock::now());
  server.running.end_unless([&](std::string_view key) { return server.keys->active(key, today); },
                            {api::Cause::kWrongKey, "This key is no longer valid."});
}

/// Serves until a signal says to end.
void serve(Server& server, ServeSignals& signals) {
  constexpr int kSecondsBetweenSaves = 30;
  for (int second = 1;; ++second) {
    if (second % kSecondsBetweenSaves == 0) server.replay_file.save();
    switch (signals.wait(std::chrono::milliseconds(1000))) {
      case ServeSignals::Event::kEnd:
        return;
      case ServeSignals::Event::kReload:
        reload(server);
        break;
      case ServeSignals::Event::kNone:
        if (const auto refreshed = server.keys->refresh(); !refreshed) {
          log::error("the keys in force stay: {}", refreshed.error().message);
        }
        break;
    }
    end_answers_of_revoked_keys(server);
  }
}

/// Lets what runs come to its end, and keeps what is worth keeping.
void drain(const ServeOptions& options, Server& server) {
  const auto deadline = std::chrono::steady_clock::now() + seconds(options.drain);
  server.http->begin_drain();
  server.service->drain(deadline);
  // Answers that have ended still travel to their clients.
  constexpr seconds kLastBytes{5};
  if (!server.http->wait_until_idle(std::max(deadline, std::chrono::steady_clock::now() + kLastBytes))) {
    log::warning("some clients did not take their answers before the server ended");
  }
  server.http->stop();
  server.cache->flush();
  server.replay_file.save();
  if (server.ledger) {
    if (const Status flushed = server.ledger->flush(); !flushed) log::error("{}", flushed.error().message);
  }
}

Status run(const ServeOptions& options) {
  ServeSignals signals;
  Server server;
  HADAL_TRY(open_accounts(options, server));
  HADAL_ASSIGN(server.model, open_model(options.model));
  HADAL_TRY(make_context(options, server));
  HADAL_TRY(listen(options, server));
  const std::string url = base_url(options, server);
  fmt::print(stderr, "Listening on {} and loading {}.\n", url, server.context->served.model->id);
  HADAL_TRY(load(options, server, signals));
  HADAL_TRY(write_standard_output(fmt::format(
      "Serving {} on {} (context {} tokens, {} answers at a time). Ctrl-C ends it.\n", server.context->served.model->id,
      url, with_separators(server.context->served.model->context), options.parallel)));
  serve(server, signals);
  fmt::print(stderr, "Ending: running answers get {} s. Ctrl-C again ends at once.\n", options.drain);
  signals.let_end();
  drain(options, server);
  return {};
}

}  // namespace

void add_serve(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<ServeOptions>();
  CLI::App* const command = app.add_subcommand("serve", "Serve the model over DeepSeek's and OpenAI's HTTP API");
  add_serve_flags(*command, *options);
  command->callback([options, &outcome] { outcome.status = run(*options); });
}

}  // namespace hadal::apps
