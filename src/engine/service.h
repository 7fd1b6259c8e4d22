#pragma once

#include <chrono>
#include <memory>

#include "base/result.h"
#include "engine/prefix_cache.h"
#include "engine/service_request.h"
#include "model/executor.h"
#include "text/tokenizer.h"

namespace hadal::engine {

/// Serves many requests with one model: continuous batching on a thread of its own. Members may be called from any
/// thread. Equal ids, options and seed give equal bits whatever else it serves: docs/design/serving.md.
class Service {
 public:
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
