#include "testing/fake_async_backend.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "ops/add.h"
#include "ops/hadamard.h"
#include "ops/linear.h"
#include "ops/reference/reference_backend.h"
#include "testing/argument_views.h"

namespace hadal::testing {
namespace {

class FakeAsync : public ::testing::Test {
 protected:
  FakeAsync() { stream->set_scratch(scratch_.data(), scratch_.bytes()); }

  TensorView view(DType type, Shape shape) {
    buffers_.push_back(fake.allocate(shape.elements() * size_of(type)).value());
    return {buffers_.back().data(), type, shape};
  }
  TensorView f32(Shape shape) { return view(DType::kF32, shape); }
  void upload(const TensorView& to, const std::vector<float>& values) {
    stream->upload(to.bytes(), values.data(), to.byte_size());
  }
  void download(std::vector<float>& to, const TensorView& from) {
    stream->download(to.data(), from.bytes(), from.byte_size());
  }
  /// The view's values now, after everything that is queued.
  std::vector<float> values(const TensorView& from) {
    std::vector<float> host(static_cast<std::size_t>(from.elements()));
    download(host, from);
    stream->wait();
    return host;
  }

  ops::ReferenceBackend reference;
  FakeAsyncBackend fake{reference};
  std::unique_ptr<ops::Stream> stream = fake.create_stream();
  Buffer scratch_ = fake.allocate(4096).value();
  std::vector<Buffer> buffers_;
};

/// Reads a value as the host would, in a way that the compiler must keep.
void touch(const TensorView& view) { [[maybe_unused]] const volatile float value = load<float>(view, 0); }

using FakeAsyncDeathTest = FakeAsync;

TEST_F(FakeAsync, NothingHappensBeforeWait) {
  const TensorView a = f32({2, 2});
  const TensorView out = f32({2, 2});
  std::vector<float> host{1, 2, 3, 4};
  upload(a, host);
  host.assign(4, -7);  // staged: the host may reuse its memory at once
  ASSERT_TRUE(ops::add(*stream, {.a = a, .b = a, .repeat = 1, .out = out}));
  std::vector<float> result(4, 99);
  download(result, out);
  EXPECT_EQ(result, std::vector<float>(4, 99));
  EXPECT_EQ(fake.counts().operators, 0);
  stream->wait();
  EXPECT_EQ(result, (std::vector<float>{2, 4, 6, 8}));
}

TEST_F(FakeAsync, RunsInTheOrderOfTheCalls) {
  const TensorView a = f32({1, 2});
  const TensorView saved = f32({1, 2});
  std::vector<float> first(2);
  upload(a, {3, 5});
  ASSERT_TRUE(ops::hadamard(*stream, {.x = a}));
  stream->copy(saved.bytes(), a.bytes(), a.byte_size());
  download(first, a);
  upload(a, {5, 6});
  ASSERT_TRUE(ops::add(*stream, {.a = a, .b = saved, .repeat = 1, .out = a}));
  const std::vector<float> second = values(a);
  const float root_half = std::sqrt(0.5F);
  EXPECT_EQ(first, (std::vector<float>{8 * root_half, -2 * root_half}));
  EXPECT_EQ(second, (std::vector<float>{5 + 8 * root_half, 6 - 2 * root_half}));
}

TEST_F(FakeAsync, CountsWhatWasDone) {
  const TensorView a = f32({1, 2});
  upload(a, {1, 2});
  upload(a, {3, 4});
  stream->copy(f32({1, 2}).bytes(), a.bytes(), a.byte_size());
  ASSERT_TRUE(ops::hadamard(*stream, {.x = a}));
  (void)values(a);
  stream->wait();
  const FakeAsyncBackend::Counts& counts = fake.counts();
  EXPECT_EQ(counts.operators, 1);
  EXPECT_EQ(counts.uploads, 2);
  EXPECT_EQ(counts.downloads, 1);
  EXPECT_EQ(counts.copies, 1);
  EXPECT_EQ(counts.waits, 2);
  fake.reset_counts();
  EXPECT_EQ(fake.counts().waits, 0);
}

TEST_F(FakeAsync, MemoryIsZeroOrPoisonedOnRequest) {
  EXPECT_EQ(values(f32({3})), std::vector<float>(3, 0));
  fake.set_poison_allocations(true);
  for (const float value : values(f32({3}))) EXPECT_TRUE(std::isnan(value));
}

TEST_F(FakeAsync, PreparedWeightsAreCopies) {
  // [2, 32] fp4: every code is 1.0, scales 2 and 4.
  std::vector<std::uint8_t> codes(32, 0x22);
  std::vector<std::uint8_t> scales{128, 129};
  const ops::Weight weight =
      fake.prepare({.codes = {codes.data(), DType::kE2m1x2, {2, 16}}, .scales = {scales.data(), DType::kE8m0, {2, 1}}})
          .value();
  codes.assign(32, 0);
  scales.assign(2, 0);
  EXPECT_TRUE(fake.owns(weight.codes.bytes(), 32));
  EXPECT_TRUE(fake.owns(weight.scales.bytes(), 2));
  const TensorView input = f32({1, 32});
  const TensorView out = f32({1, 2});
  upload(input, std::vector<float>(32, 1));
  ASSERT_TRUE(ops::linear(*stream, {.input = input, .weight = weight, .out = out}));
  EXPECT_EQ(values(out), (std::vector<float>{64, 128}));
}

TEST_F(FakeAsync, WeightsLargerThanAMappingHaveRoom) {
  std::vector<float> large((std::size_t{5} << 20) + 3, 2);
  const ops::Weight first =
      fake.prepare({.codes = {large.data(), DType::kF32, {static_cast<std::int64_t>(large.size())}}, .scales = {}})
          .value();
  std::vector<float> small{3};
  const ops::Weight second = fake.prepare({.codes = {small.data(), DType::kF32, {1}}, .scales = {}}).value();
  EXPECT_EQ(values(first.codes), large);
  EXPECT_EQ(values(second.codes), small);
}

TEST_F(FakeAsync, PlansQueueNothing) {
  ops::StepPlan plan;
  stream->set_plan(&plan);
  const float host = 1;
  stream->upload(nullptr, &host, 4);
  ASSERT_TRUE(ops::hadamard(*stream, {.x = TensorView(nullptr, DType::kF32, {4, 8})}));
  stream->set_plan(nullptr);
  EXPECT_EQ(dynamic_cast<FakeAsyncStream&>(*stream).pending(), 0);
  EXPECT_TRUE(plan.unsupported.empty());
}

/// Two streams on which a buffer is filled, summed and filled again; true if the sum is that of the first filling.
/// `upload_first` and `read_first`: the events that make it so.
class FakeAsyncOrder : public FakeAsync {
 protected:
  bool sum_is_right(bool upload_first, bool read_first) {
    const auto copies = fake.create_stream();
    const auto uploaded = fake.create_event();
    const auto read = fake.create_event();
    const TensorView a = f32({1, 2});
    const TensorView sum = f32({1, 2});
    const std::vector<float> values[] = {{1, 2}, {50, 60}};
    copies->upload(a.bytes(), values[0].data(), 8);
    if (upload_first) {
      copies->record(*uploaded);
      stream->wait_for(*uploaded);
    }
    EXPECT_TRUE(ops::add(*stream, {.a = a, .b = a, .repeat = 1, .out = sum}));
    if (read_first) {
      stream->record(*read);
      copies->wait_for(*read);
    }
    copies->upload(a.bytes(), values[1].data(), 8);
    std::vector<float> result(2);
    download(result, sum);
    stream->wait();
    copies->wait();
    return result == std::vector<float>{2, 4};
  }
  /// Of 64 orders.
  int right_sums(bool upload_first, bool read_first) {
    fake.set_poison_allocations(true);
    int right = 0;
    for (std::uint32_t seed = 0; seed < 64; ++seed) {
      fake.set_order(seed);
      right += sum_is_right(upload_first, read_first) ? 1 : 0;
      buffers_.clear();
    }
    return right;
  }
};

TEST_F(FakeAsyncOrder, EventsOrderStreams) { EXPECT_EQ(right_sums(true, true), 64); }

TEST_F(FakeAsyncOrder, AMissingEventShows) {
  EXPECT_LT(right_sums(false, true), 64) << "reads what is not there yet";
  EXPECT_LT(right_sums(true, false), 64) << "reads what is no longer there";
  EXPECT_GT(right_sums(false, false), 0) << "every order occurs, the right one too";
}

TEST_F(FakeAsyncOrder, OneStreamStaysInOrderBesideOthers) {
  const auto other = fake.create_stream();
  for (std::uint32_t seed = 0; seed < 16; ++seed) {
    fake.set_order(seed);
    const TensorView a = f32({1, 2});
    const TensorView b = f32({1, 2});
    const TensorView sum = f32({1, 2});
    for (const float value : {1.0F, 2.0F, 3.0F}) {
      upload(a, {value, 0});
      ASSERT_TRUE(ops::add(*stream, {.a = a, .b = a, .repeat = 1, .out = sum}));
      const std::vector<float> host{value, value};
      other->upload(b.bytes(), host.data(), 8);
    }
    EXPECT_EQ(values(sum), (std::vector<float>{6, 0}));
    other->wait();
    EXPECT_EQ(values(b), (std::vector<float>{3, 3}));
  }
}

TEST_F(FakeAsyncOrder, WaitFinishesItsStreamAndWhatThatWaitsFor) {
  const auto other = fake.create_stream();
  const auto event = fake.create_event();
  const TensorView a = f32({1, 2});
  stream->wait_for(*event);  // never recorded: holds nothing back
  stream->wait();
  bool left_over = false;
  for (std::uint32_t seed = 0; seed < 16; ++seed) {
    fake.set_order(seed);
    const std::vector<float> first{1, 1};
    other->upload(a.bytes(), first.data(), 8);
    other->record(*event);
    stream->wait_for(*event);
    const std::vector<float> second{2, 2};
    for (int i = 0; i < 8; ++i) other->upload(a.bytes(), second.data(), 8);
    other->record(*event);  // later than the wait: not what it waits for
    stream->wait();
    left_over = left_over || dynamic_cast<FakeAsyncStream&>(*other).pending() > 0;
    other->wait();
  }
  EXPECT_TRUE(left_over);
}

TEST(HostStreams, NeedNoEventsButTakeThem) {
  ops::ReferenceBackend backend;
  const auto first = backend.create_stream();
  const auto second = backend.create_stream();
  const auto event = backend.create_event();
  const Buffer memory = backend.allocate(8).value();
  const float values[] = {3, 4};
  float result[2] = {};
  first->upload(memory.data(), values, 8);
  first->record(*event);
  second->wait_for(*event);
  second->download(result, memory.data(), 8);
  second->wait();
  EXPECT_EQ(result[0], 3);
  EXPECT_EQ(result[1], 4);
}

/// A backend with one operator: it reports the first value of its scratch, then dirties it. f32 only.
class ScratchProbe final : public ops::Backend {
 public:
  ScratchProbe() {
    table_.add<ops::Hadamard>({.implementation = "probe",
                               .supports = [](const Args& args) { return args.x.type() == DType::kF32; },
                               .scratch_bytes = [](const ops::Backend&, const Args&) { return std::int64_t{64}; },
                               .enqueue =
                                   [](ops::Stream& stream, const Args& args) {
                                     store(args.x, 0, load_unaligned<float>(stream.scratch()));
                                     store(args.x, 1, load_unaligned<float>(stream.scratch() + 60));
                                     std::memset(stream.scratch(), 0, 64);
                                   }});
  }
  [[nodiscard]] std::string_view name() const override { return "probe"; }
  [[nodiscard]] std::string_view instruction_set() const override { return "generic"; }
  [[nodiscard]] const ops::OpTable& ops() const override { return table_; }
  [[nodiscard]] int workers() const override { return 3; }
  [[nodiscard]] Result<Buffer> allocate(std::int64_t bytes) override { return host_.allocate(bytes); }
  [[nodiscard]] std::unique_ptr<ops::Stream> create_stream() override { return host_.create_stream(); }
  [[nodiscard]] Result<ops::Weight> prepare(const ops::Weight& host) override { return host; }

 private:
  using Args = ops::Hadamard::Args;
  ops::ReferenceBackend host_;
  ops::OpTable table_;
};

TEST(FakeAsyncScratch, IsPoisonedBeforeEveryOperator) {
  ScratchProbe probe;
  FakeAsyncBackend fake(probe);
  const auto stream = fake.create_stream();
  const Buffer memory = fake.allocate(8).value();
  const Buffer scratch = fake.allocate(64).value();
  stream->set_scratch(scratch.data(), scratch.bytes());
  const TensorView x(memory.data(), DType::kF32, {1, 2});
  for (int call = 0; call < 2; ++call) {
    ASSERT_TRUE(ops::hadamard(*stream, {.x = x}));
    std::vector<float> result(2, 0);
    stream->download(result.data(), x.bytes(), 8);
    stream->wait();
    EXPECT_TRUE(std::isnan(result[0])) << "call " << call;
    EXPECT_TRUE(std::isnan(result[1])) << "call " << call;
  }
}

TEST(FakeAsyncTable, SupportsWhatTheInnerBackendSupports) {
  ScratchProbe probe;
  FakeAsyncBackend fake(probe);
  EXPECT_EQ(fake.workers(), 3);
  const auto stream = fake.create_stream();
  ops::StepPlan plan;
  stream->set_plan(&plan);
  ASSERT_TRUE(ops::hadamard(*stream, {.x = TensorView(nullptr, DType::kF32, {1, 2})}));
  ASSERT_TRUE(ops::hadamard(*stream, {.x = TensorView(nullptr, DType::kF64, {1, 2})}));
  EXPECT_EQ(plan.scratch_bytes, 64);
  EXPECT_EQ(plan.unsupported, std::vector<std::string>{"operator hadamard: x f64 [1, 2]"});
}

TEST_F(FakeAsyncDeathTest, HostTouchEndsTheProgram) {
  const TensorView a = f32({1, 2});
  upload(a, {1, 2});
  stream->wait();
  EXPECT_DEATH(touch(a), "");
  EXPECT_DEATH(store(a, 0, 1.0F), "");
  std::vector<float> host{1};
  const ops::Weight weight = fake.prepare({.codes = {host.data(), DType::kF32, {1}}, .scales = {}}).value();
  EXPECT_DEATH(touch(weight.codes), "");
}

TEST_F(FakeAsyncDeathTest, ForeignMemoryEndsTheProgram) {
  const TensorView a = f32({1, 2});
  std::vector<float> host{1, 2};
  const TensorView outside(host.data(), DType::kF32, {1, 2});
  EXPECT_DEATH((void)ops::hadamard(*stream, {.x = outside}),
               "hadamard: an argument is not in the backend's memory: f32 \\[1, 2\\]");
  const TensorView too_long(a.bytes(), DType::kF32, {1, 4096});
  EXPECT_DEATH((void)ops::hadamard(*stream, {.x = too_long}), "an argument is not in the backend's memory");
  const ops::Weight unprepared{.codes = outside, .scales = {}};
  EXPECT_DEATH((void)ops::linear(*stream, {.input = a, .weight = unprepared, .out = f32({1, 1})}),
               "linear: an argument is not in the backend's memory");
  EXPECT_DEATH(stream->upload(host.data(), host.data(), 4), "upload to memory that is not the backend's");
  EXPECT_DEATH(stream->download(a.bytes(), a.bytes(), 4), "download into memory of the backend");
  EXPECT_DEATH(stream->download(host.data(), host.data(), 4), "download from memory that is not the backend's");
  EXPECT_DEATH(stream->copy(a.bytes(), host.data(), 4), "copy outside the backend's memory");
}

TEST_F(FakeAsyncDeathTest, MemoryGivenBackBeforeItsWorkEndsTheProgram) {
  const TensorView a = f32({1, 2});
  ASSERT_TRUE(ops::hadamard(*stream, {.x = a}));
  EXPECT_DEATH(
      {
        buffers_.clear();
        stream->wait();
      },
      "");
}

TEST(ArgumentViews, FindsEveryTensor) {
  float memory[4] = {};
  const TensorView view(memory, DType::kF32, {1, 4});
  const ops::Weight weight{.codes = view, .scales = view};
  const ops::ExpertWeights experts{.gate = &weight, .up = &weight, .down = &weight, .count = 1};
  const auto count = [](const auto& args) {
    int present = 0;
    for_each_view(args, [&](const TensorView& found) { present += found.absent() ? 0 : 1; });
    return present;
  };
  EXPECT_EQ(count(ops::Hadamard::Args{.x = view}), 1);
  EXPECT_EQ(count(ops::Linear::Args{.input = view, .weight = weight, .out = view}), 4);
  struct Mixture {
    TensorView input;
    ops::ExpertWeights table;
    double limit;
    ops::StepLayout layout;
  };
  ops::StepLayout layout;
  layout.positions = view;
  EXPECT_EQ(count(Mixture{.input = view, .table = experts, .limit = 0, .layout = layout}), 8);
}

}  // namespace
}  // namespace hadal::testing
