#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "ops/backend.h"

namespace hadal::testing {

/// A stand-in for an accelerator: proves that code above the operator seam never touches a backend's memory and never
/// relies on work being done before wait(). It carries out another backend's operators on memory of its own.
///   - Nothing runs when it is enqueued: operators, uploads (staged at the call), downloads and copies run in order
///     inside wait(), and not before.
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
  [[nodiscard]] Result<ops::Weight> prepare(const ops::Weight& host) override;

  [[nodiscard]] ops::Backend& inner() const { return inner_; }
  /// Work that was carried out; calls that wait in a queue are not counted yet.
  [[nodiscard]] const Counts& counts() const { return counts_; }
  void reset_counts() { counts_ = {}; }
  /// From now on, fills memory that is allocated with 0xFF instead of zeros: for arenas whose user must not rely on
  /// their contents.
  void set_poison_allocations(bool poison) { poison_allocations_ = poison; }
  /// True if [data, data + bytes) is memory of this backend.
  [[nodiscard]] bool owns(const void* data, std::int64_t bytes) const;

 private:
  friend class FakeAsyncStream;
  [[nodiscard]] Result<std::byte*> map(std::int64_t bytes);
  void unmap(std::byte* data);
  void set_open(bool open) const;
  [[nodiscard]] Result<TensorView> copy_in(const TensorView& host);

  ops::Backend& inner_;
  ops::OpTable table_;
  std::map<const std::byte*, std::int64_t> regions_;  // address and bytes of every mapping
  std::byte* weights_ = nullptr;                      // free rest of the newest mapping for weights
  std::int64_t weights_left_ = 0;
  bool poison_allocations_ = false;
  Counts counts_;
};

/// The queue of a FakeAsyncBackend.
class FakeAsyncStream final : public ops::Stream {
 public:
  FakeAsyncStream(FakeAsyncBackend& backend);

  /// Queues an operator; its arguments are copied, the tables of experts behind them are not.
  template <class Op>
  void record(const typename Op::Args& args);
  /// Commands that wait for wait().
  [[nodiscard]] std::int64_t pending() const { return static_cast<std::int64_t>(commands_.size()); }

 private:
  void do_upload(void* device, const void* host, std::int64_t bytes) override;
  void do_download(void* host, const void* device, std::int64_t bytes) override;
  void do_copy(void* to, const void* from, std::int64_t bytes) override;
  void do_wait() override;

  FakeAsyncBackend& fake_;
  std::unique_ptr<ops::Stream> inner_;
  std::vector<std::function<void()>> commands_;
};

}  // namespace hadal::testing
