#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/generation.h"
#include "engine/prefix_cache.h"
#include "engine/token_sink.h"
#include "model/executor.h"
#include "text/tokenizer.h"

namespace hadal::engine {

/// What one client asks of the model, in ids: one answer. Several choices are several requests with equal prompts.
struct ServiceRequest {
  std::vector<std::int64_t> prompt;
  GenerationOptions options{};
  PrefixDomain domain{};              // of the prefix cache
  bool use_cache = true;              // read and write the prefix cache
  std::vector<std::int64_t> marks{};  // ascending positions of the prompt whose state is worth keeping
  std::string client{};               // clients take turns
  std::int64_t priority = 0;          // lower ones first
  std::optional<std::chrono::steady_clock::time_point> deadline{};
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
  Status status{};  // an error of ours, or kDeadlineExceeded, kUnavailable (draining)
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

struct ServiceOptions {
  std::int64_t step_tokens = 512;           // most rows of a step
  std::int64_t queue_length = 1024;         // waiting requests; more are refused
  std::int64_t keep_every = 2048;           // tokens between anchors of a long prefill
  std::chrono::milliseconds step_delay{0};  // added to each step; to try a slow model
};

/// Figures for metrics; counters since the start.
struct ServiceFigures {
  std::int64_t running = 0, waiting = 0, put_away = 0;
  std::int64_t steps = 0, preemptions = 0;
  std::int64_t prompt_tokens = 0, cached_tokens = 0, answer_tokens = 0;
  std::int64_t drafted = 0, accepted = 0, rounds = 0;
  std::int64_t free_pages = 0, pages = 0, free_slots = 0, slots = 0;
  PrefixFigures cache{};
};

/// Serves many requests with one model: continuous batching on a thread of its own. Members may be called from any
/// thread. Equal ids, options and seed give equal bits whatever else it serves: docs/design/serving.md.
class Service {
 public:
  using RequestId = std::uint64_t;

  /// `executor`, `cache` and `tokenizer` (may be null) must outlive it and serve no one else. Starts the thread.
  [[nodiscard]] static Result<std::unique_ptr<Service>> start(model::Executor& executor, PrefixCache* cache,
                                                              const text::Tokenizer* tokenizer,
                                                              const ServiceOptions& options);
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;
  /// Cancels what is left and joins the thread.
  ~Service();

  /// Queues a request. Errors: kResourceExhausted (the queue is full, or the prompt can never fit), kUnavailable
  /// (draining), kInvalidArgument (empty prompt, ids outside the vocabulary, a prompt beyond the context).
  [[nodiscard]] Result<RequestId> submit(ServiceRequest request, std::shared_ptr<RequestSink> sink);
  /// Ends a request before its next step; its sink gets finished(kCancelled). Unknown ids do nothing.
  void cancel(RequestId id);
  /// The sink became ready again.
  void wake();
  /// Accepts nothing new; returns when all requests ended or at the deadline, when the rest is ended with kUnavailable.
  void drain(std::chrono::steady_clock::time_point deadline);
  [[nodiscard]] ServiceFigures figures() const;

 private:
  struct Parts;
  explicit Service(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace hadal::engine
