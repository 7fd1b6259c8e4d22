#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/generation.h"
#include "engine/prefix_cache.h"
#include "engine/token_sink.h"

namespace hadal::engine {

using RequestId = std::uint64_t;

/// What one client asks of the model, in ids: one answer. Several choices are several requests with equal prompts.
struct ServiceRequest {
  std::vector<std::int64_t> prompt;
  GenerationOptions options{};
  PrefixDomain domain{};              // of the prefix cache
  bool use_cache = true;              // read and write the prefix cache
  std::vector<std::int64_t> marks{};  // positions of the prompt whose state is worth keeping
  std::string client{};               // clients take turns
  std::int64_t priority = 0;          // lower ones first
  std::optional<std::chrono::steady_clock::time_point> deadline{};        // of its end
  std::optional<std::chrono::steady_clock::time_point> queue_deadline{};  // of its first admission
};

/// Where the prompt of an admitted request came from.
struct Admission {
  std::int64_t prompt_tokens = 0;
  std::int64_t cached_tokens = 0;  // not computed for this request
  PrefixTier tier = PrefixTier::kNone;
  double queue_seconds = 0;
};

/// How a request ended.
struct RequestResult {
  Status status{};  // an error of ours, or kDeadlineExceeded, kResourceExhausted (queue_deadline), or kUnavailable
  FinishReason reason = FinishReason::kNone;
  GenerationStatistics statistics{};
  std::vector<std::int64_t> tokens{};  // of the answer, the stop token included
};

/// Receives one request's events on the engine thread. Must not block and must not call the service.
class RequestSink : public TokenSink {
 public:
  virtual void admitted(const Admission& admission) = 0;
  /// False while the reader is behind: the sequence takes no part in steps.
  [[nodiscard]] virtual bool ready() const = 0;
  /// The last call.
  virtual void finished(const RequestResult& result) = 0;
};

/// One step of the model.
struct StepFigures {
  std::int64_t sequences = 0;
  std::int64_t tokens = 0;  // computed, drafts to check included
  double seconds = 0;
};

struct ServiceOptions {
  std::int64_t queue_length = 1024;  // requests that wait; more are refused
  std::int64_t keep_every = 2048;    // tokens between kept states of a long prompt; a multiple of 128
  std::int64_t put_away_bytes = std::int64_t{1} << 30;  // of states put away in memory; more go to files
  std::filesystem::path put_away_directory = std::filesystem::temp_directory_path();
  bool keep_tails = true;                   // keep where an answer ended, at any position
  std::chrono::milliseconds step_delay{0};  // before each step: a slow model, to try clients with
  /// Called on the engine thread after each step; must not block.
  std::function<void(const StepFigures&)> on_step{};
};

/// Figures for metrics; counters since the start.
struct ServiceFigures {
  std::int64_t running = 0, waiting = 0, put_away = 0;
  std::int64_t deferred = 0;  // of those waiting: until another one has computed the prefix that they share
  std::int64_t steps = 0, preemptions = 0;
  std::int64_t preemptions_to_disk = 0;    // of them
  std::int64_t prompt_tokens = 0;          // computed
  std::int64_t queried_tokens = 0;         // of admitted prompts, looked up in the prefix cache
  std::int64_t cached_tokens = 0;          // of them, found
  std::int64_t cached_tokens_on_disk = 0;  // of these, by a state that was read from disk
  std::int64_t answer_tokens = 0;
  std::int64_t drafted = 0, accepted = 0, rounds = 0;
  static constexpr std::size_t kDraftPositions = 8;
  std::array<std::int64_t, kDraftPositions> accepted_at{};  // of accepted: by place in the round
  std::int64_t free_pages = 0, pages = 0, free_slots = 0, slots = 0;
  std::int64_t page_tokens = 0;
  PrefixFigures cache{};
};

}  // namespace hadal::engine
