#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "engine/generator.h"
#include "engine/prefix_cache.h"
#include "engine/service_request.h"
#include "engine/state_store.h"
#include "model/executor.h"
#include "text/tokenizer.h"

namespace hadal::engine {

/// Decides which requests take part in the next step and takes them through it: admission by slots and pages, turns
/// between clients, putting sequences away when pages run out, keeping states for the prefix cache. What it decides
/// changes when a row is computed and never what it is. Used by one thread; docs/design/serving.md.
class Scheduler {
 public:
  using Clock = std::chrono::steady_clock;

  /// All must outlive it; `cache` and `tokenizer` may be null.
  Scheduler(model::Executor& executor, PrefixCache* cache, const text::Tokenizer* tokenizer,
            const ServiceOptions& options);

  /// Whether the request can be served at all. Errors: kInvalidArgument, kResourceExhausted (it can never fit).
  [[nodiscard]] Status check(const ServiceRequest& request) const;
  /// Adds a checked request to those that wait.
  void add(RequestId id, ServiceRequest request, std::shared_ptr<RequestSink> sink);
  /// Ends a request with kCancelled. Unknown ids do nothing.
  void cancel(RequestId id);
  /// Ends all requests with this error.
  void end_all(const Error& error);

  /// One step of all requests that can take part; false: none can now.
  [[nodiscard]] bool step();
  /// The earliest deadline of a request.
  [[nodiscard]] std::optional<Clock::time_point> next_deadline() const;
  [[nodiscard]] bool empty() const { return tasks_.empty(); }
  [[nodiscard]] ServiceFigures figures() const;

 private:
  enum class Phase : std::uint8_t { kWaiting, kRunning, kPutAway, kEnded };

  /// A request on its way.
  struct Task {
    RequestId id = 0;
    ServiceRequest request;
    std::shared_ptr<RequestSink> sink;
    Clock::time_point arrived{};
    Phase phase = Phase::kWaiting;
    std::optional<Sequence> sequence{};              // from admission on
    std::optional<StoredState> stored{};             // while put away
    std::optional<model::Snapshot> answer_anchor{};  // the last multiple of 128 inside the answer
    std::vector<std::int64_t> keep_at{};             // positions still to come, descending
    std::int64_t cached_tokens = 0;
    std::int64_t last_step = 0;  // in which it had rows
    RequestId waits_for = 0;     // computes a prefix of this prompt up to `shared`
    std::int64_t shared = 0;

    [[nodiscard]] std::int64_t prompt_size() const { return static_cast<std::int64_t>(request.prompt.size()); }
    [[nodiscard]] bool prefilling() const { return sequence->state().length() < prompt_size(); }
    /// Requests with smaller ranks go first and are put away last.
    [[nodiscard]] std::pair<std::int64_t, RequestId> rank() const { return {request.priority, id}; }
  };

  void end_expired();
  void admit();
  /// Those that are not running, in the order in which they are to be admitted.
  [[nodiscard]] std::vector<Task*> candidates() const;
  enum class Admitted : std::uint8_t { kYes, kEnded, kNoRoom };
  [[nodiscard]] Admitted admit(Task& task);
  [[nodiscard]] Admitted bring_back(Task& task);
  [[nodiscard]] bool waits_for_prefix(Task& task);
  void plan_keeping(Task& task);
  void choose_batch();
  /// Makes sure of pages for the task's next rows; puts others, or the task itself, away for them.
  void make_room(Task& task);
  void put_away(Task& task);
  void after_step(Task& task);
  void keep_state(Task& task);
  void keep_end(Task& task);
  void finish(Task& task, Status status, FinishReason reason);
  void erase_finished();
  [[nodiscard]] bool cached(const Task& task) const { return cache_ != nullptr && task.request.use_cache; }
  [[nodiscard]] Task* find(RequestId id) const;
  /// Gives the state pages for so many tokens, at the cost of the cache if need be; false: not now.
  [[nodiscard]] bool take_pages(model::SequenceState& state, std::int64_t tokens);

  model::Executor& executor_;
  PrefixCache* cache_;
  SequenceSetting setting_;
  ServiceOptions options_;
  Generator generator_;
  StateStore store_;
  std::vector<std::unique_ptr<Task>> tasks_;  // in order of arrival
  std::vector<Task*> batch_;
  std::vector<Sequence*> sequences_;
  ServiceFigures figures_;
};

}  // namespace hadal::engine
