#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "api/replay_map.h"
#include "engine/service_request.h"
#include "server/http_server.h"

namespace hadal::server {

struct MetricsOptions {
  std::string prefix = "hadal:";   // "vllm:" for dashboards made for vLLM
  std::string model{};             // id of the served model
  std::int64_t context = 1 << 20;  // tokens: the last bucket of token counts
};

/// Figures of a server in Prometheus's text format, with the names, types and buckets of vLLM where it has them. No
/// label has unbounded values. Thread-safe.
class Metrics {
 public:
  explicit Metrics(const MetricsOptions& options);
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;
  ~Metrics();

  /// Counts a request that is over.
  void request_ended(const RequestRecord& record);
  /// Time between two pieces of an answer.
  void token_gap(double seconds);
  /// A step of the model.
  void step(const engine::StepFigures& figures);
  /// A group of records came to the ledger's disk.
  void ledger_commit(double seconds);
  /// Turns with calls that came back without their reasoning.
  void reasoning_missing(std::int64_t turns);
  /// All figures, format 0.0.4.
  [[nodiscard]] std::string text(const engine::ServiceFigures& engine, const HttpFigures& http,
                                 const api::ReplayFigures& replays = {});

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace hadal::server
