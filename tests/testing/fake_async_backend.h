#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "ops/backend.h"

namespace hadal::testing {

class FakeAsyncStream;

/// A stand-in for an accelerator: proves that code above the operator seam never touches a backend's memory and never
/// relies on work being done before wait(). It carries out another backend's operators on memory of its own.
///   - Nothing runs when it is enqueued: operators, uploads (staged at the call), downloads and copies run inside
///     wait(), and not before.
///   - The work of one stream runs in order. That of several streams is interleaved at random, by a seed: a wait() runs
///     what its stream asks for, what that waits for by events, and of other streams as much as chance wants. An
///     event that is missing between two streams therefore shows as data that is not there yet, or no longer.
///   - Its memory (buffers and prepared weights, which are copied) is closed to the whole program outside wait(): any
///     read or write by the host ends the program.
///   - Operators, uploads, downloads and copies must name its memory where memory of the backend is due: a pointer to
///     anything else ends the program with a message.
///   - The stream's scratch is filled with 0xFF (NaN in every floating type, -1 in integers) before every operator.
/// The inner backend must work on host memory and outlive this one. One thread at a time.
class FakeAsyncBackend final : public ops::Backend {
 public:
  struct Counts {
    std::int64_t operators = 0;
    std::int64_t uploads = 0;
    std::int64_t downloads = 0;
    std::int64_t copies = 0;
    std::int64_t waits = 0;
  };

  explicit FakeAsyncBackend(ops::Backend& inner);
  ~FakeAsyncBackend() override;

  [[nodiscard]] std::string_view name() const override { return "fake-async"; }
  [[nodiscard]] std::string_view instruction_set() const override { return inner_.instruction_set(); }
  [[nodiscard]] const ops::OpTable& ops() const override { return table_; }
  [[nodiscard]] int workers() const override { return inner_.workers(); }
  [[nodiscard]] Result<Buffer> allocate(std::int64_t bytes) override;
  [[nodiscard]] std::unique_ptr<ops::Stream> create_stream() override;
  [[nodiscard]] std::unique_ptr<ops::Event> create_event() override;
  [[nodiscard]] Result<ops::Weight> prepare(const ops::Weight& host) override;

  [[nodiscard]] ops::Backend& inner() const { return inner_; }
  /// Work that was carried out; calls that wait in a queue are not counted yet.
  [[nodiscard]] const Counts& counts() const { return counts_; }
  void reset_counts() { counts_ = {}; }
  /// From now on, fills memory that is allocated with 0xFF instead of zeros: for arenas whose user must not rely on
  /// their contents.
  void set_poison_allocations(bool poison) { poison_allocations_ = poison; }
  /// From now on streams are interleaved in the order of this seed.
  void set_order(std::uint32_t seed) {
    seed_ = seed;
    choices_ = 0;
  }
  /// True if [data, data + bytes) is memory of this backend.
  [[nodiscard]] bool owns(const void* data, std::int64_t bytes) const;

 private:
  friend class FakeAsyncStream;
  [[nodiscard]] Result<std::byte*> map(std::int64_t bytes);
  void unmap(std::byte* data);
  void set_open(bool open) const;
  [[nodiscard]] Result<TensorView> copy_in(const TensorView& host);
  /// Runs work of all streams until none of `stream` is left.
  void finish(const FakeAsyncStream& stream);

  ops::Backend& inner_;
  ops::OpTable table_;
  std::map<const std::byte*, std::int64_t> regions_;  // address and bytes of every mapping
  std::byte* weights_ = nullptr;                      // free rest of the newest mapping for weights
  std::int64_t weights_left_ = 0;
  bool poison_allocations_ = false;
  std::vector<FakeAsyncStream*> streams_;  // that exist
  std::uint32_t seed_ = 0;
  std::uint32_t choices_ = 0;  // made with this seed
  Counts counts_;
};

/// Stands for the work up to the last record: every record is a mark of its own.
class FakeAsyncEvent final : public ops::Event {
 public:
  struct Mark {
    bool reached = false;
  };
  std::shared_ptr<Mark> mark;  // null: never recorded
};

/// A queue of a FakeAsyncBackend.
class FakeAsyncStream final : public ops::Stream {
 public:
  explicit FakeAsyncStream(FakeAsyncBackend& backend);
  ~FakeAsyncStream() override;

  /// Queues an operator; its arguments are copied, the tables of experts behind them are not.
  template <class Op>
  void record(const typename Op::Args& args);
  /// Commands that wait for wait().
  [[nodiscard]] std::int64_t pending() const { return static_cast<std::int64_t>(commands_.size()); }
  /// Whether the next command waits for no event of another stream.
  [[nodiscard]] bool ready() const {
    return !commands_.empty() && (commands_.front().after == nullptr || commands_.front().after->reached);
  }
  void run_next();

 private:
  void do_upload(void* device, const void* host, std::int64_t bytes) override;
  void do_download(void* host, const void* device, std::int64_t bytes) override;
  void do_copy(void* to, const void* from, std::int64_t bytes) override;
  void do_wait() override;
  void do_record(ops::Event& event) override;
  void do_wait_for(const ops::Event& event) override;

  struct Command {
    std::function<void()> work;
    std::shared_ptr<const FakeAsyncEvent::Mark> after = nullptr;
  };

  FakeAsyncBackend& fake_;
  std::unique_ptr<ops::Stream> inner_;
  std::deque<Command> commands_;
};

}  // namespace hadal::testing
