#pragma once

#include <any>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/trace.h"
#include "ops/weight.h"
#include "tensor/buffer.h"
#include "tensor/tensor.h"

namespace hadal::ops {

class Backend;
class Stream;

/// One implementation of operator `Op`. `supports` and `scratch_bytes` depend on shapes, types and layouts only and may
/// be asked with views that have no memory. `enqueue` trusts its arguments: the free function has checked them.
template <class Op>
struct OpEntry {
  using Args = typename Op::Args;
  std::string_view implementation;
  bool (*supports)(const Args& args);
  std::int64_t (*scratch_bytes)(const Backend& backend, const Args& args);
  void (*enqueue)(Stream& stream, const Args& args);
};

/// The operators of a backend, filled once at its start; afterwards read-only and safe for any thread.
class OpTable {
 public:
  template <class Op>
  void add(OpEntry<Op> entry) {
    const std::size_t index = index_of<Op>();
    if (entries_.size() <= index) entries_.resize(index + 1);
    entries_[index].emplace_back(entry);
  }

  /// The first registered implementation that supports the arguments, or null.
  template <class Op>
  [[nodiscard]] const OpEntry<Op>* find(const typename Op::Args& args) const {
    const std::size_t index = index_of<Op>();
    if (entries_.size() <= index) return nullptr;
    for (const std::any& erased : entries_[index]) {
      const auto* entry = std::any_cast<OpEntry<Op>>(&erased);
      if (entry->supports(args)) return entry;
    }
    return nullptr;
  }

  /// Calls visit(entry) for every registered implementation of `Op`, in the order of registration.
  template <class Op>
  void for_each(auto&& visit) const {
    const std::size_t index = index_of<Op>();
    if (entries_.size() <= index) return;
    for (const std::any& erased : entries_[index]) visit(*std::any_cast<OpEntry<Op>>(&erased));
  }

 private:
  static std::size_t next_index();
  template <class Op>
  static std::size_t index_of() {
    static const std::size_t index = next_index();
    return index;
  }

  std::vector<std::vector<std::any>> entries_;
};

/// What a step would need, collected by running the model's code on a stream that executes nothing.
struct StepPlan {
  std::int64_t scratch_bytes = 0;        // the largest any operator asked for
  std::vector<std::string> unsupported;  // "operator linear: input bf16 [1, 64], ..." without repetition
};

/// A point in the work of a stream that other streams of its backend can wait for; made by Backend::create_event. This
/// one is complete at once, which is right for backends that carry work out as it is enqueued.
class Event {
 public:
  Event() = default;
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  virtual ~Event() = default;
};

/// An in-order queue of work on one backend. Streams of a backend run beside each other in any order: what one writes
/// and another reads or writes needs an event, or wait(), in between. Results are valid after wait(). One thread at a
/// time.
class Stream {
 public:
  explicit Stream(Backend& backend) : backend_(backend) {}
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  virtual ~Stream() = default;

  [[nodiscard]] Backend& backend() const { return backend_; }

  /// Copies `bytes` of host memory to the backend; the host memory may be reused at once.
  void upload(void* device, const void* host, std::int64_t bytes) {
    if (plan_ == nullptr && bytes > 0) do_upload(device, host, bytes);
  }
  /// Copies `bytes` of backend memory to the host; the host memory is filled after wait().
  void download(void* host, const void* device, std::int64_t bytes) {
    if (plan_ == nullptr && bytes > 0) do_download(host, device, bytes);
  }
  /// Copies `bytes` inside the backend's memory; the ranges do not overlap.
  void copy(void* to, const void* from, std::int64_t bytes) {
    if (plan_ == nullptr && bytes > 0) do_copy(to, from, bytes);
  }
  /// Blocks until all that was enqueued here has been done; says nothing of other streams, but for what this one waited
  /// for.
  void wait() {
    if (plan_ == nullptr) do_wait();
  }
  /// Lets `event` stand for all that was enqueued here so far, in place of what it stood for.
  void record(Event& event) {
    if (plan_ == nullptr) do_record(event);
  }
  /// What is enqueued here from now on starts after the work for which `event` stands at this moment; the host does not
  /// wait. An event that was never recorded holds nothing back.
  void wait_for(const Event& event) {
    if (plan_ == nullptr) do_wait_for(event);
  }

  /// Working memory of the operators on this stream, shared by all of them in turn; the caller owns it.
  void set_scratch(std::byte* data, std::int64_t bytes) {
    scratch_ = data;
    scratch_bytes_ = bytes;
  }
  [[nodiscard]] std::byte* scratch() const { return scratch_; }
  [[nodiscard]] std::int64_t scratch_bytes() const { return scratch_bytes_; }

  /// While a plan is set nothing is executed: operators only note in it what they need.
  void set_plan(StepPlan* plan) { plan_ = plan; }
  [[nodiscard]] StepPlan* plan() const { return plan_; }

 private:
  virtual void do_upload(void* device, const void* host, std::int64_t bytes) = 0;
  virtual void do_download(void* host, const void* device, std::int64_t bytes) = 0;
  virtual void do_copy(void* to, const void* from, std::int64_t bytes) = 0;
  virtual void do_wait() = 0;
  virtual void do_record(Event& event) = 0;
  virtual void do_wait_for(const Event& event) = 0;

  Backend& backend_;
  std::byte* scratch_ = nullptr;
  std::int64_t scratch_bytes_ = 0;
  StepPlan* plan_ = nullptr;
};

/// A device: its memory, its streams, its operators. Implementations live in backends/<name>/ (and ops/reference/).
class Backend {
 public:
  Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;
  virtual ~Backend() = default;

  [[nodiscard]] virtual std::string_view name() const = 0;
  /// What the bits of a result depend on beside the profile ("avx512").
  [[nodiscard]] virtual std::string_view instruction_set() const = 0;
  [[nodiscard]] virtual const OpTable& ops() const = 0;
  /// Number of threads that share an operator's work (1 where that means nothing).
  [[nodiscard]] virtual int workers() const = 0;
  /// Memory of at least `bytes`, aligned to 64, zero-filled, taken from the system only when touched where the system
  /// can do that. Errors: kResourceExhausted.
  [[nodiscard]] virtual Result<Buffer> allocate(std::int64_t bytes) = 0;
  [[nodiscard]] virtual std::unique_ptr<Stream> create_stream() = 0;
  /// For streams of this backend.
  [[nodiscard]] virtual std::unique_ptr<Event> create_event() { return std::make_unique<Event>(); }
  /// Makes a weight in host memory usable by this backend's operators; the result is valid as long as both the host
  /// memory and the backend. CPU: the same views, nothing is copied. Errors: kResourceExhausted, kUnsupported.
  [[nodiscard]] virtual Result<Weight> prepare(const Weight& host) = 0;
};

/// Enqueues `args`, an operator on `rows` rows, on the stream's backend, or notes in the stream's plan what that would
/// need. Called by the free functions after their checks. Errors: kUnimplemented, kInternal (scratch too small: the
/// plan was made for less).
template <class Op>
[[nodiscard]] Status dispatch(Stream& stream, const typename Op::Args& args, std::int64_t rows, auto&& describe) {
  const Backend& backend = stream.backend();
  const OpEntry<Op>* entry = backend.ops().template find<Op>(args);
  if (StepPlan* plan = stream.plan(); plan != nullptr) {
    if (entry == nullptr) {
      std::string line = "operator " + std::string(Op::name) + ": " + describe();
      for (const std::string& known : plan->unsupported) {
        if (known == line) return {};
      }
      plan->unsupported.push_back(std::move(line));
      return {};
    }
    const std::int64_t bytes = entry->scratch_bytes(backend, args);
    if (bytes > plan->scratch_bytes) plan->scratch_bytes = bytes;
    return {};
  }
  if (entry == nullptr) {
    return fail(ErrorCode::kUnimplemented, "backend " + std::string(backend.name()) + " has no implementation of " +
                                               std::string(Op::name) + " for " + describe());
  }
  if (entry->scratch_bytes(backend, args) > stream.scratch_bytes()) {
    return fail(ErrorCode::kInternal,
                "operator " + std::string(Op::name) + " needs more scratch memory than was planned, for " + describe());
  }
  const trace::Span span(Op::name, "rows", rows);
  entry->enqueue(stream, args);
  return {};
}

}  // namespace hadal::ops
