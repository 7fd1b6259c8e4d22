#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/rig.h"
#include "server/inference_handlers.h"
#include "server/model_handlers.h"
#include "testing/byte_tokenizer.h"

namespace hadal::testing {

using nlohmann::ordered_json;

/// One request to a handler, with the test in the place of its connection.
class Exchange {
 public:
  Exchange() : stream(std::make_shared<server::ResponseStream>(server::AnswerForm{}, [this] { wake(); })) {}

  /// Takes what is there until the answer is complete, broken off, or `enough(bytes)`.
  void read(const std::function<bool(const std::string&)>& enough = nullptr) {
    std::unique_lock lock(mutex_);
    while (!ended && !(enough && enough(bytes))) {
      changed_.wait(lock, [this] { return woken_; });
      woken_ = false;
      lock.unlock();
      const server::ResponseStream::Output output = stream->take();
      stream->sent(output.bytes.size());
      lock.lock();
      bytes += output.bytes;
      ended = output.last;
    }
  }

  [[nodiscard]] int status() const { return stream->status(); }
  [[nodiscard]] std::string header(const std::string& name) const {
    const std::size_t at = bytes.find("\r\n" + name + ": ");
    if (at == std::string::npos || at > bytes.find("\r\n\r\n")) return "";
    const std::size_t begin = at + name.size() + 4;
    return bytes.substr(begin, bytes.find("\r\n", begin) - begin);
  }
  /// Behind the head; of a stream without its chunk sizes.
  [[nodiscard]] std::string body() const {
    std::string rest = bytes.substr(bytes.find("\r\n\r\n") + 4);
    if (header("transfer-encoding") != "chunked") return rest;
    std::string made;
    while (!rest.empty()) {
      const std::size_t line = rest.find("\r\n");
      const std::size_t size = std::stoul(rest.substr(0, line), nullptr, 16);
      made += rest.substr(line + 2, size);
      rest.erase(0, line + 2 + size + 2);
    }
    return made;
  }
  [[nodiscard]] ordered_json json() const { return ordered_json::parse(body()); }
  /// Data of the events of a stream, the last one "[DONE]" included.
  [[nodiscard]] std::vector<std::string> events() const {
    std::vector<std::string> made;
    std::string rest = body();
    for (std::size_t end = 0; (end = rest.find("\n\n")) != std::string::npos; rest.erase(0, end + 2)) {
      if (rest.starts_with("data: ")) made.push_back(rest.substr(6, end - 6));
    }
    return made;
  }

  std::string bytes;  // sent so far
  bool ended = false;
  std::shared_ptr<server::ResponseStream> stream;

 private:
  void wake() {
    const std::lock_guard lock(mutex_);
    woken_ = true;
    changed_.notify_all();
  }

  std::mutex mutex_;  // guards woken_
  std::condition_variable changed_;
  bool woken_ = false;
};

/// The API's handlers over a tiny model of random weights and a tokenizer of bytes.
class ApiRig {
 public:
  static constexpr std::int64_t kContext = 4096;  // the text of tools alone has a thousand bytes, hence tokens

  struct Options {
    std::string script{};  // AnswerScript's lines
    bool cache = true;
    std::chrono::milliseconds step_delay{0};
    std::int64_t queue = 1024;
    std::function<void(const engine::StepFigures&)> on_step{};
  };

  explicit ApiRig(const Options& options) {
    engine_rig = Rig::open("tiny-dspark", 3, kContext);
    auto loaded = text::Tokenizer::parse(byte_tokenizer_json(384), "test");
    EXPECT_TRUE(loaded) << loaded.error().message;
    tokenizer.emplace(std::move(*loaded));
    if (options.cache) {
      auto made = engine::PrefixCache::create(*engine_rig->executor, {.fingerprint = "test"});
      EXPECT_TRUE(made) << made.error().message;
      cache = std::move(*made);
    }
    auto started = engine::Service::start(
        *engine_rig->executor, cache.get(), nullptr,
        {.queue_length = options.queue, .step_delay = options.step_delay, .on_step = options.on_step});
    EXPECT_TRUE(started) << started.error().message;
    service = std::move(*started);
    api::ServedModel model{.id = "tiny", .display_name = "Tiny"};
    model.context = kContext;
    model.max_output = 256;
    model.vocab_size = 384;
    model.aliases = {{"tiny-chat", false}};
    context =
        std::make_unique<server::ApiContext>(server::ApiContext{.models = api::ModelTable::create({model}).value()});
    context->served = {.model = &context->models.models().front(),
                       .tokenizer = &*tokenizer,
                       .service = service.get(),
                       .markers = server::MarkerTokens::of(*tokenizer),
                       .stop_tokens = {*tokenizer->eos_id()},
                       .sorted_tokens = std::make_shared<engine::SortedTokens>(*tokenizer, 384),
                       .fingerprint = "fp_0123456789"};
    if (!options.script.empty()) {
      auto script = server::AnswerScript::parse(options.script, "script", *tokenizer);
      EXPECT_TRUE(script) << script.error().message;
      context->served.script = *script;
    }
    context->settings.models = &context->models;
    context->limiter = &limiter;
    context->replays = &replays;
    context->random = [this] { return ++random; };
    routes = server::inference_routes(*context);
    for (server::Route& route : server::model_routes(*context)) routes.push_back(std::move(route));
    for (server::Route& route : server::token_routes(*context)) routes.push_back(std::move(route));
  }

  /// Hands a request to its handler; its answer comes when it comes.
  std::unique_ptr<Exchange> send(const std::string& method, const std::string& path, const std::string& body) {
    auto exchange = std::make_unique<Exchange>();
    const server::RouteTable table(routes);
    const auto match = table.find(method, path);
    EXPECT_NE(match.route, nullptr) << path;
    server::HttpRequest request{.head = {.method = method, .path = path}};
    request.body = body;
    request.rest = match.rest;
    request.family = match.route->family;
    request.id = "req_test";
    request.pass = std::make_shared<server::CallerPass>(server::CallerPass{.identity = identity});
    match.route->handler(std::move(request), exchange->stream);
    return exchange;
  }
  std::unique_ptr<Exchange> post(const std::string& path, const ordered_json& body) {
    auto exchange = send("POST", path, body.dump());
    exchange->read();
    return exchange;
  }

  std::unique_ptr<Rig> engine_rig;
  std::optional<text::Tokenizer> tokenizer;
  std::unique_ptr<engine::PrefixCache> cache;
  server::RateLimiter limiter;
  api::ReplayMap replays;
  server::Identity identity{.key = {.id = "local"}, .account = {.id = "local"}, .name = "local"};
  std::atomic<std::uint64_t> random = 0;  // several handlers draw
  std::unique_ptr<server::ApiContext> context;
  std::vector<server::Route> routes;
  std::unique_ptr<engine::Service> service;  // last: its thread uses all above
};

}  // namespace hadal::testing
