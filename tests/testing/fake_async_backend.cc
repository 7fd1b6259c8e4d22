#include "testing/fake_async_backend.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/philox.h"
#include "ops/op_list.h"
#include "testing/argument_views.h"

namespace hadal::testing {
namespace {

constexpr int kPoison = 0xFF;
constexpr std::int64_t kAlignment = 64;
constexpr std::int64_t kWeightMapping = std::int64_t{16} << 20;

std::int64_t aligned(std::int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

void fill(std::byte* data, std::int64_t bytes) { std::memset(data, kPoison, static_cast<std::size_t>(bytes)); }

void copy_bytes(void* to, const void* from, std::int64_t bytes) {
  std::memcpy(to, from, static_cast<std::size_t>(bytes));
}

/// Bytes from a view's first element to one past its last.
std::int64_t span_of(const TensorView& view) {
  if (view.elements() == 0) return 0;
  std::int64_t last = 0;
  for (int i = 0; i < view.rank(); ++i) last += (view.extent(i) - 1) * view.stride(i);
  return (last + 1) * size_of(view.type());
}

/// Registers, for every implementation of the inner backend, one that supports the same and is queued.
struct Wrap {
  const ops::OpTable& inner;
  ops::OpTable& table;

  template <class Op>
  void operator()() const {
    inner.for_each<Op>([&](const ops::OpEntry<Op>& entry) {
      table.add<Op>({.implementation = entry.implementation,
                     .supports = entry.supports,
                     .scratch_bytes = &scratch_bytes<Op>,
                     .enqueue = &enqueue<Op>});
    });
  }

  template <class Op>
  static std::int64_t scratch_bytes(const ops::Backend& backend, const typename Op::Args& args) {
    const ops::Backend& host = dynamic_cast<const FakeAsyncBackend&>(backend).inner();
    return host.ops().template find<Op>(args)->scratch_bytes(host, args);
  }
  template <class Op>
  static void enqueue(ops::Stream& stream, const typename Op::Args& args) {
    dynamic_cast<FakeAsyncStream&>(stream).record<Op>(args);
  }
};

}  // namespace

FakeAsyncBackend::FakeAsyncBackend(ops::Backend& inner) : inner_(inner) {
  ops::for_each_operator(Wrap{inner.ops(), table_});
}

FakeAsyncBackend::~FakeAsyncBackend() {
  while (!regions_.empty()) unmap(const_cast<std::byte*>(regions_.begin()->first));
}

Result<std::byte*> FakeAsyncBackend::map(std::int64_t bytes) {
  void* data =
      mmap(nullptr, static_cast<std::size_t>(bytes), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) {
    return fail(ErrorCode::kResourceExhausted,
                "the fake backend found no room for " + std::to_string(bytes) + " bytes; ask for less");
  }
  auto* const address = static_cast<std::byte*>(data);
  regions_.emplace(address, bytes);
  return address;
}

void FakeAsyncBackend::unmap(std::byte* data) {
  const auto region = regions_.find(data);
  HADAL_CHECK(region != regions_.end(), "memory is given back that the fake backend did not hand out");
  munmap(data, static_cast<std::size_t>(region->second));
  regions_.erase(region);
}

void FakeAsyncBackend::set_open(bool open) const {
  for (const auto& [address, bytes] : regions_) {
    const int result = mprotect(const_cast<std::byte*>(address), static_cast<std::size_t>(bytes),
                                open ? PROT_READ | PROT_WRITE : PROT_NONE);
    HADAL_CHECK(result == 0, "the system refused to change the protection of the fake backend's memory");
  }
}

bool FakeAsyncBackend::owns(const void* data, std::int64_t bytes) const {
  const auto* const address = static_cast<const std::byte*>(data);
  auto next = regions_.upper_bound(address);
  if (next == regions_.begin()) return false;
  --next;
  return address - next->first + bytes <= next->second;
}

Result<Buffer> FakeAsyncBackend::allocate(std::int64_t bytes) {
  if (bytes == 0) return Buffer();
  HADAL_ASSIGN(std::byte* const data, map(bytes));
  if (poison_allocations_) {
    set_open(true);
    fill(data, bytes);
    set_open(false);
  }
  const auto release = [](void* context, void* memory, std::int64_t) {
    static_cast<FakeAsyncBackend*>(context)->unmap(static_cast<std::byte*>(memory));
  };
  return Buffer(data, bytes, release, this);
}

std::unique_ptr<ops::Stream> FakeAsyncBackend::create_stream() { return std::make_unique<FakeAsyncStream>(*this); }

std::unique_ptr<ops::Event> FakeAsyncBackend::create_event() { return std::make_unique<FakeAsyncEvent>(); }

void FakeAsyncBackend::finish(const FakeAsyncStream& stream) {
  set_open(true);
  std::vector<FakeAsyncStream*> ready;
  while (stream.pending() > 0) {
    ready.clear();
    for (FakeAsyncStream* const candidate : streams_) {
      if (candidate->ready()) ready.push_back(candidate);
    }
    HADAL_CHECK(!ready.empty(), "a stream waits for an event whose stream is gone");
    const std::uint32_t random = philox({choices_++, 0, 0, 0}, {seed_, 0})[0];
    ready[random % ready.size()]->run_next();
  }
  set_open(false);
}

Result<TensorView> FakeAsyncBackend::copy_in(const TensorView& host) {
  if (host.absent() || host.elements() == 0) return host;
  HADAL_CHECK(host.contiguous(), "a weight is contiguous");
  const std::int64_t bytes = host.byte_size();
  if (weights_left_ < bytes) {
    weights_left_ = std::max(kWeightMapping, aligned(bytes));
    HADAL_ASSIGN(weights_, map(weights_left_));
  }
  set_open(true);
  copy_bytes(weights_, host.bytes(), bytes);
  set_open(false);
  const TensorView view(weights_, host.type(), host.shape());
  weights_ += aligned(bytes);
  weights_left_ -= aligned(bytes);
  return view;
}

Result<ops::Weight> FakeAsyncBackend::prepare(const ops::Weight& host) {
  HADAL_ASSIGN(const ops::Weight prepared, inner_.prepare(host));
  HADAL_ASSIGN(const TensorView codes, copy_in(prepared.codes));
  HADAL_ASSIGN(const TensorView scales, copy_in(prepared.scales));
  return ops::Weight{.codes = codes, .scales = scales};
}

FakeAsyncStream::FakeAsyncStream(FakeAsyncBackend& backend)
    : Stream(backend), fake_(backend), inner_(backend.inner().create_stream()) {
  fake_.streams_.push_back(this);
}

FakeAsyncStream::~FakeAsyncStream() { std::erase(fake_.streams_, this); }

void FakeAsyncStream::run_next() {
  const Command command = std::move(commands_.front());
  commands_.pop_front();
  if (command.work) command.work();
}

template <class Op>
void FakeAsyncStream::record(const typename Op::Args& args) {
  for_each_view(args, [&](const TensorView& view) {
    const bool inside = view.absent() || view.elements() == 0 || fake_.owns(view.bytes(), span_of(view));
    HADAL_CHECK(inside, std::string(Op::name) + ": an argument is not in the backend's memory: " + to_string(view));
  });
  const bool has_scratch = scratch_bytes() == 0 || fake_.owns(scratch(), scratch_bytes());
  HADAL_CHECK(has_scratch, "the stream's scratch is not in the backend's memory");
  commands_.push_back({.work = [this, args, data = scratch(), bytes = scratch_bytes()] {
    fill(data, bytes);
    inner_->set_scratch(data, bytes);
    fake_.inner().ops().template find<Op>(args)->enqueue(*inner_, args);
    inner_->wait();
    ++fake_.counts_.operators;
  }});
}

void FakeAsyncStream::do_upload(void* device, const void* host, std::int64_t bytes) {
  HADAL_CHECK(fake_.owns(device, bytes), "upload to memory that is not the backend's");
  const auto* const begin = static_cast<const std::byte*>(host);
  commands_.push_back({.work = [this, device, staged = std::vector<std::byte>(begin, begin + bytes)] {
    copy_bytes(device, staged.data(), static_cast<std::int64_t>(staged.size()));
    ++fake_.counts_.uploads;
  }});
}

void FakeAsyncStream::do_download(void* host, const void* device, std::int64_t bytes) {
  HADAL_CHECK(fake_.owns(device, bytes), "download from memory that is not the backend's");
  HADAL_CHECK(!fake_.owns(host, 0), "download into memory of the backend");
  commands_.push_back({.work = [this, host, device, bytes] {
    copy_bytes(host, device, bytes);
    ++fake_.counts_.downloads;
  }});
}

void FakeAsyncStream::do_copy(void* to, const void* from, std::int64_t bytes) {
  HADAL_CHECK(fake_.owns(to, bytes) && fake_.owns(from, bytes), "copy outside the backend's memory");
  commands_.push_back({.work = [this, to, from, bytes] {
    copy_bytes(to, from, bytes);
    ++fake_.counts_.copies;
  }});
}

void FakeAsyncStream::do_wait() {
  fake_.finish(*this);
  ++fake_.counts_.waits;
}

void FakeAsyncStream::do_record(ops::Event& event) {
  const auto mark = std::make_shared<FakeAsyncEvent::Mark>();
  dynamic_cast<FakeAsyncEvent&>(event).mark = mark;
  commands_.push_back({.work = [mark] { mark->reached = true; }});
}

void FakeAsyncStream::do_wait_for(const ops::Event& event) {
  commands_.push_back({.work = nullptr, .after = dynamic_cast<const FakeAsyncEvent&>(event).mark});
}

}  // namespace hadal::testing
