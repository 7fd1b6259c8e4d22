#pragma once

#include <chrono>
#include <memory>
#include <optional>

#include "api/body.h"
#include "api/ids.h"
#include "api/replay_map.h"
#include "api/request.h"
#include "server/http_route.h"
#include "server/isolation.h"
#include "server/keys.h"
#include "server/ledger.h"
#include "server/log_file.h"
#include "server/metrics.h"
#include "server/rate_limits.h"
#include "server/running_answers.h"
#include "server/served_model.h"

namespace hadal::server {

/// All that the handlers of the API share. Immutable but for what is thread-safe by itself; outlives the HTTP server.
struct ApiContext {
  api::ModelTable models;
  ServedEngine served{};  // of the first model: one is served; complete before HttpServer::begin_serving
  api::RequestSettings settings{};
  api::BodyLimits body_limits{};
  std::optional<CacheIsolation> isolation{};  // none: by user in DeepSeek's family, by key in OpenAI's
  std::chrono::seconds request_time{3600};
  std::chrono::seconds queue_time{600};
  Keys* keys = nullptr;
  RateLimiter* limiter = nullptr;
  Ledger* ledger = nullptr;  // null: nothing is written down
  api::ReplayMap* replays = nullptr;
  Metrics* metrics = nullptr;         // null: nothing is counted
  LogFile* content_log = nullptr;     // null: neither prompts nor answers are written
  RunningAnswers* running = nullptr;  // null: what has begun goes on
  api::RandomBits random{};
};

/// What the gate hands to a handler: who asks, and its share of the limits. Taken once.
struct CallerPass {
  Identity identity;
  RateLease lease{};
};

/// Asks keys and limits; `context` must outlive it.
[[nodiscard]] Gate make_gate(const ApiContext& context);

/// The caller that the gate let pass.
[[nodiscard]] CallerPass& caller(const HttpRequest& request);

/// A domain's name in the replay map.
[[nodiscard]] std::string replay_domain(const engine::PrefixDomain& domain);

/// Answers with an error.
void refuse(ResponseStream& answer, api::Family family, const Refusal& refusal);
[[nodiscard]] inline Refusal refusal(api::ApiError error) { return {.error = std::move(error)}; }

}  // namespace hadal::server
