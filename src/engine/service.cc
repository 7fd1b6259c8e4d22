#include "engine/service.h"

#include <fmt/format.h>

#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>

#include "engine/scheduler.h"

namespace hadal::engine {

using Clock = Scheduler::Clock;

struct Service::Parts {
  struct Submission {
    RequestId id = 0;
    ServiceRequest request;
    std::shared_ptr<RequestSink> sink;
  };

  Parts(model::Executor& executor, PrefixCache* cache, const text::Tokenizer* tokenizer, const ServiceOptions& given)
      : options(given), scheduler(executor, cache, tokenizer, given), figures(scheduler.figures()) {}

  void run(const std::stop_token& stop);
  /// Hands what was submitted and cancelled to the scheduler, without the mutex meanwhile: sinks are called, and they
  /// may take locks under which others call the service.
  void take_inbox(std::unique_lock<std::mutex>& lock);
  void wait_for_work(std::unique_lock<std::mutex>& lock, const std::stop_token& stop);

  const ServiceOptions options;
  Scheduler scheduler;  // touched by the engine thread alone, but for check(), which reads constants

  std::mutex mutex;                     // guards all below
  std::condition_variable_any changed;  // for the engine thread: something to do
  std::condition_variable_any ended;    // for drain(): all requests have ended
  std::vector<Submission> submitted;
  std::size_t arriving = 0;  // submissions on their way to the scheduler, which figures do not count yet
  std::vector<RequestId> cancelled;
  bool woken = false;
  bool draining = false;
  bool end_all = false;
  bool idle = true;  // the scheduler has no requests
  RequestId last_id = 0;
  ServiceFigures figures;

  std::jthread thread;  // last: it uses everything above
};

void Service::Parts::take_inbox(std::unique_lock<std::mutex>& lock) {
  std::vector<Submission> arrived = std::exchange(submitted, {});
  const std::vector<RequestId> left = std::exchange(cancelled, {});
  const bool end = std::exchange(end_all, false);
  woken = false;
  arriving = arrived.size();
  lock.unlock();
  for (Submission& entry : arrived) scheduler.add(entry.id, std::move(entry.request), std::move(entry.sink));
  for (const RequestId id : left) scheduler.cancel(id);
  if (end) scheduler.end_all({ErrorCode::kUnavailable, "the server is shutting down"});
  lock.lock();
  if (arriving > 0) figures = scheduler.figures();
  arriving = 0;
}

void Service::Parts::wait_for_work(std::unique_lock<std::mutex>& lock, const std::stop_token& stop) {
  const auto something = [this] { return woken || !submitted.empty() || !cancelled.empty() || end_all; };
  if (const auto deadline = scheduler.next_deadline()) {
    changed.wait_until(lock, stop, *deadline, something);
  } else {
    changed.wait(lock, stop, something);
  }
}

void Service::Parts::run(const std::stop_token& stop) {
  std::unique_lock lock(mutex);
  while (!stop.stop_requested()) {
    take_inbox(lock);
    if (options.step_delay.count() > 0 && !scheduler.empty()) {
      // A cancellation during the pause counts before the step.
      changed.wait_for(lock, stop, options.step_delay, [this] { return !cancelled.empty() || end_all; });
      take_inbox(lock);
    }
    lock.unlock();
    const bool worked = scheduler.step();
    lock.lock();
    figures = scheduler.figures();
    idle = scheduler.empty() && submitted.empty();
    if (idle) ended.notify_all();
    if (!worked) wait_for_work(lock, stop);
  }
  take_inbox(lock);
  lock.unlock();
  scheduler.end_all({ErrorCode::kUnavailable, "the server is shutting down"});
}

Service::Service(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Service::~Service() {
  parts_->thread.request_stop();
  parts_->thread.join();
}

Result<std::unique_ptr<Service>> Service::start(model::Executor& executor, PrefixCache* cache,
                                                const text::Tokenizer* tokenizer, const ServiceOptions& options) {
  if (options.keep_every <= 0 || options.keep_every % ops::kPageTokens != 0) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("states of long prompts are kept every {} tokens, but that must be a multiple of {}",
                            options.keep_every, ops::kPageTokens));
  }
  auto parts = std::make_unique<Parts>(executor, cache, tokenizer, options);
  Parts& started = *parts;
  started.thread = std::jthread([&started](const std::stop_token& stop) { started.run(stop); });
  return std::unique_ptr<Service>(new Service(std::move(parts)));
}

Result<RequestId> Service::submit(ServiceRequest request, std::shared_ptr<RequestSink> sink) {
  HADAL_TRY(parts_->scheduler.check(request));
  const std::lock_guard lock(parts_->mutex);
  if (parts_->draining) return fail(ErrorCode::kUnavailable, "the server is shutting down");
  const auto waiting = parts_->figures.waiting + static_cast<std::int64_t>(parts_->submitted.size() + parts_->arriving);
  if (waiting >= parts_->options.queue_length) {
    return fail(ErrorCode::kResourceExhausted,
                fmt::format("{} requests are waiting already; try again later", waiting));
  }
  const RequestId id = ++parts_->last_id;
  parts_->submitted.push_back({id, std::move(request), std::move(sink)});
  parts_->idle = false;
  parts_->changed.notify_all();
  return id;
}

void Service::cancel(RequestId id) {
  const std::lock_guard lock(parts_->mutex);
  parts_->cancelled.push_back(id);
  parts_->changed.notify_all();
}

void Service::wake() {
  const std::lock_guard lock(parts_->mutex);
  parts_->woken = true;
  parts_->changed.notify_all();
}

void Service::drain(std::chrono::steady_clock::time_point deadline) {
  std::unique_lock lock(parts_->mutex);
  parts_->draining = true;
  const auto all_ended = [this] { return parts_->idle; };
  if (parts_->ended.wait_until(lock, deadline, all_ended)) return;
  parts_->end_all = true;
  parts_->changed.notify_all();
  parts_->ended.wait(lock, all_ended);
}

ServiceFigures Service::figures() const {
  const std::lock_guard lock(parts_->mutex);
  return parts_->figures;
}

}  // namespace hadal::engine
