#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ops/backend.h"
#include "ops/op_list.h"
#include "ops/step_layout.h"
#include "ops/weight.h"
#include "testing/allocation_counter.h"

namespace hadal::ops::testing {

inline constexpr std::int64_t kScratch = 192;

/// A backend whose operators only count their calls.
class CountingBackend : public Backend {
 public:
  CountingBackend() { for_each_operator(Fill{table_}); }

  [[nodiscard]] std::string_view name() const override { return "counting"; }
  [[nodiscard]] std::string_view instruction_set() const override { return "none"; }
  [[nodiscard]] const OpTable& ops() const override { return table_; }
  [[nodiscard]] int workers() const override { return 1; }
  [[nodiscard]] Result<Buffer> allocate(std::int64_t) override {
    return fail(ErrorCode::kResourceExhausted, "the counting backend has no memory");
  }
  [[nodiscard]] std::unique_ptr<Stream> create_stream() override;
  [[nodiscard]] Result<Weight> prepare(const Weight& host) override { return host; }

  mutable int calls = 0;

 private:
  struct Fill {
    OpTable& table;
    template <class Op>
    void operator()() const {
      using Args = typename Op::Args;
      table.add<Op>(
          {.implementation = "count",
           .supports = [](const Args&) { return true; },
           .scratch_bytes = [](const Backend&, const Args&) { return kScratch; },
           .enqueue = [](Stream& stream, const Args&) { ++dynamic_cast<CountingBackend&>(stream.backend()).calls; }});
    }
  };

  OpTable table_;
};

class CountingStream : public Stream {
 public:
  explicit CountingStream(CountingBackend& backend) : Stream(backend) {
    set_scratch(scratch_.data(), static_cast<std::int64_t>(scratch_.size()));
  }

 private:
  void do_upload(void*, const void*, std::int64_t) override {}
  void do_download(void*, const void*, std::int64_t) override {}
  void do_copy(void*, const void*, std::int64_t) override {}
  void do_wait() override {}
  void do_record(Event&) override {}
  void do_wait_for(const Event&) override {}

  std::array<std::byte, kScratch> scratch_{};
};

inline std::unique_ptr<Stream> CountingBackend::create_stream() { return std::make_unique<CountingStream>(*this); }

/// Hands out views that do not overlap, or views without memory.
class Memory {
 public:
  explicit Memory(bool real) : pool_(real ? std::size_t{1} << 20 : 0) {}

  TensorView view(DType type, Shape shape) {
    if (pool_.empty()) return {nullptr, type, shape};
    std::byte* address = pool_.data() + used_;
    used_ += static_cast<std::size_t>(shape.elements() * size_of(type));
    EXPECT_LE(used_, pool_.size());
    return {address, type, shape};
  }
  TensorView f32(Shape shape) { return view(DType::kF32, shape); }
  TensorView bf16(Shape shape) { return view(DType::kBf16, shape); }
  TensorView i32(Shape shape) { return view(DType::kI32, shape); }
  TensorView i64(Shape shape) { return view(DType::kI64, shape); }
  /// A view whose rows lie `gap` elements apart.
  TensorView strided(DType type, Shape shape, std::int64_t gap) {
    const TensorView dense = view(type, shape);
    const std::int64_t row = shape.elements() / (shape[0] == 0 ? 1 : shape[0]);
    used_ += static_cast<std::size_t>(shape[0] * gap * size_of(type));
    return {dense.bytes(), type, shape, {row + gap, dense.stride(1), dense.stride(2), dense.stride(3)}};
  }
  Weight f32_weight(Shape shape) { return {.codes = f32(shape), .scales = {}}; }
  Weight fp8(std::int64_t rows, std::int64_t columns) {
    return {.codes = view(DType::kE4m3, {rows, columns}),
            .scales = view(DType::kE8m0, {(rows + 127) / 128, (columns + 127) / 128})};
  }
  Weight fp4(std::int64_t rows, std::int64_t columns) {
    return {.codes = view(DType::kE2m1x2, {rows, columns / 2}), .scales = view(DType::kE8m0, {rows, columns / 32})};
  }
  StepLayout layout(std::int64_t tokens, std::int64_t sequences) {
    return {.positions = i64({tokens}),
            .sequence = i32({tokens}),
            .first_row = i32({sequences}),
            .start = i64({sequences}),
            .state_slot = i32({sequences}),
            .page_table = i32({sequences, 4})};
  }

 private:
  std::vector<std::byte> pool_;
  std::size_t used_ = 0;
};

/// One way to spoil good arguments, and the message that must follow.
template <class Args>
struct Wrong {
  std::function<void(Args&, Memory&)> spoil;
  std::string message;
};

/// Holds operator `Op` to the rules of the free functions: good arguments reach the backend once without any
/// allocation; no rows do not reach it; a planning stream takes note of both and needs no memory behind the views;
/// each wrong argument is refused with its message, and views without memory are refused outside plans.
template <class Op>
void expect_checked(Status (*call)(Stream&, const typename Op::Args&),
                    const std::function<typename Op::Args(Memory&, std::int64_t rows)>& good,
                    const std::vector<Wrong<typename Op::Args>>& wrongs) {
  CountingBackend backend;
  CountingStream stream(backend);
  Memory memory(true);
  Memory no_memory(false);

  const typename Op::Args args = good(memory, 4);
  const std::int64_t before = hadal::testing::allocations();
  const Status accepted = call(stream, args);
  EXPECT_EQ(hadal::testing::allocations() - before, 0);
  EXPECT_TRUE(accepted) << (accepted ? "" : accepted.error().message);
  EXPECT_EQ(backend.calls, 1);

  EXPECT_TRUE(call(stream, good(memory, 0)));
  EXPECT_EQ(backend.calls, 1) << "an empty problem reached the backend";

  const Status no_address = call(stream, good(no_memory, 4));
  ASSERT_FALSE(no_address);
  EXPECT_NE(no_address.error().message.find("has no memory"), std::string::npos) << no_address.error().message;

  for (const std::int64_t rows : {0, 4}) {
    StepPlan plan;
    stream.set_plan(&plan);
    EXPECT_TRUE(call(stream, good(no_memory, rows)));
    EXPECT_EQ(plan.scratch_bytes, kScratch) << rows << " rows";
    stream.set_plan(nullptr);
  }

  for (const Wrong<typename Op::Args>& wrong : wrongs) {
    typename Op::Args spoiled = good(memory, 4);
    wrong.spoil(spoiled, memory);
    const Status refused = call(stream, spoiled);
    ASSERT_FALSE(refused) << "not noticed: " << wrong.message;
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(refused.error().message, wrong.message);
  }
  EXPECT_EQ(backend.calls, 1) << "refused arguments reached the backend";
}

}  // namespace hadal::ops::testing
