// What the CPU backend promises beyond the operators' contracts: bits that do not depend on threads, no allocation in
// an operator, memory that is aligned and taken only when touched.

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/kernels/kernels.h"
#include "ops/attention.h"
#include "ops/compress.h"
#include "ops/grouped_linear.h"
#include "ops/hadamard.h"
#include "ops/hc_head.h"
#include "ops/hc_post.h"
#include "ops/hc_pre.h"
#include "ops/indexer_loss.h"
#include "ops/indexer_select.h"
#include "ops/linear.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"
#include "ops/round_rows.h"
#include "ops/routed_experts.h"
#include "ops/step_case.h"
#include "ops/swiglu.h"
#include "ops/training_step.h"
#include "ops/weight_cases.h"
#include "testing/allocation_counter.h"
#include "testing/compare.h"

namespace hadal::cpu {
namespace {

using testing::History;
using testing::OpRunner;
using testing::RandomValues;
using testing::StepCase;

std::vector<std::string_view> instruction_sets() {
  std::vector<std::string_view> found;
  for (const std::string_view isa : kInstructionSets) {
    if (kernel_table(isa)) found.push_back(isa);
  }
  return found;
}

/// One operator's result, with the name that a failure shows.
struct Outcome {
  std::string name;
  std::vector<double> values;
};

/// Runs operators at shapes that are large enough to be shared out, and counts their allocations.
class Bench {
 public:
  Bench(ops::Backend& backend, DType type) : memory_(backend), stream_(backend.create_stream()), type_(type) {
    constexpr std::int64_t kScratch = std::int64_t{64} << 20;
    scratch_ = backend.allocate(kScratch).value();
    stream_->set_scratch(scratch_.data(), kScratch);
  }

  /// All results for `tokens` rows of a step that begins at position 700.
  std::vector<Outcome> run(std::int64_t tokens) {
    outcomes_.clear();
    random_ = RandomValues(7);
    products(tokens);
    experts(tokens);
    hyper_connections(tokens);
    rows(tokens);
    attention_and_indexer(tokens);
    return std::move(outcomes_);
  }

 private:
  template <class Args>
  void call(std::string name, Status (*op)(ops::Stream&, const Args&), const std::type_identity_t<Args>& args,
            const TensorView& out) {
    const std::int64_t before = testing::allocations();
    const Status status = op(*stream_, args);
    EXPECT_EQ(testing::allocations(), before) << name;
    ASSERT_TRUE(status.has_value()) << name << ": " << status.error().message;
    outcomes_.push_back({std::move(name), memory_.values(out)});
  }
  TensorView values(DType type, Shape shape, double deviation = 1) {
    return memory_.tensor(type, shape, random_.normal(shape.elements(), type, deviation));
  }
  ops::Weight f32_weight(Shape shape) {
    return memory_.weight(DType::kF32, shape, random_.normal(shape.elements(), DType::kF32, 0.1));
  }

  void products(std::int64_t tokens) {
    const TensorView x = values(type_, {tokens, 512});
    for (const testing::WeightCase& weight : testing::weight_cases(random_, 300, 512)) {
      const TensorView out = memory_.empty(DType::kF32, {tokens, 300});
      call("linear " + weight.name, ops::linear, {.input = x, .weight = weight.make(memory_), .out = out}, out);
    }
    const TensorView out = memory_.empty(DType::kF32, {tokens, 256});
    call("grouped_linear", ops::grouped_linear,
         {.input = x,
          .weight = testing::fp8_weight(random_, DType::kE8m0, 256, 128).make(memory_),
          .groups = 4,
          .out = out},
         out);
  }

  void experts(std::int64_t tokens) {
    constexpr std::int64_t kExperts = 7;
    constexpr std::int64_t kHidden = 256;
    constexpr std::int64_t kInter = 384;
    std::vector<ops::Weight> gate, up, down;
    for (std::int64_t e = 0; e < kExperts; ++e) {
      gate.push_back(testing::fp4_weight(random_, kInter, kHidden).make(memory_));
      up.push_back(testing::fp4_weight(random_, kInter, kHidden).make(memory_));
      down.push_back(testing::fp4_weight(random_, kHidden, kInter).make(memory_));
    }
    std::vector<std::int64_t> chosen;
    for (std::int64_t token = 0; token < tokens; ++token) {
      const std::int64_t first = random_.integer(0, kExperts - 2);
      chosen.insert(chosen.end(), {first, random_.integer(first, kExperts - 2), kExperts - 1});
    }
    const TensorView out = memory_.empty(DType::kF32, {tokens, kHidden});
    call("routed_experts", ops::routed_experts,
         {.input = values(type_, {tokens, kHidden}, 0.3),
          .experts = memory_.i32({tokens, 3}, chosen),
          .weights = values(DType::kF32, {tokens, 3}),
          .table = {.gate = gate.data(), .up = up.data(), .down = down.data(), .count = kExperts},
          .swiglu_limit = 10,
          .rounding = ops::Rounding::kFp8Block128,
          .out = out},
         out);
  }

  void hyper_connections(std::int64_t tokens) {
    constexpr std::int64_t kStreams = 4;
    constexpr std::int64_t kHidden = 1032;
    const TensorView streams = values(DType::kF32, {tokens, kStreams, kHidden});
    const TensorView input = memory_.empty(DType::kF32, {tokens, kHidden});
    const TensorView post = memory_.empty(DType::kF32, {tokens, kStreams});
    const TensorView comb = memory_.empty(DType::kF32, {tokens, kStreams, kStreams});
    call("hc_pre", ops::hc_pre,
         {.streams = streams,
          .fn = f32_weight({24, kStreams * kHidden}),
          .base = f32_weight({24}),
          .scale = f32_weight({3}),
          .input = input,
          .post = post,
          .comb = comb,
          .norm_eps = 1e-6,
          .hc_eps = 1e-6,
          .sinkhorn_iterations = 20},
         input);
    outcomes_.push_back({"hc_pre comb", memory_.values(comb)});
    const TensorView head = memory_.empty(DType::kF32, {tokens, kHidden});
    call("hc_head", ops::hc_head,
         {.streams = streams,
          .fn = f32_weight({kStreams, kStreams * kHidden}),
          .base = f32_weight({kStreams}),
          .scale = f32_weight({1}),
          .out = head,
          .norm_eps = 1e-6,
          .hc_eps = 1e-6},
         head);
    call("hc_post", ops::hc_post, {.sublayer_output = input, .post = post, .comb = comb, .streams = streams}, streams);
  }

  void rows(std::int64_t tokens) {
    const TensorView x = values(DType::kF32, {tokens, 1024});
    const TensorView out = memory_.empty(type_, {tokens, 1024});
    call("rms_norm", ops::rms_norm,
         {.input = x,
          .weight = memory_.weight(DType::kBf16, {1024}, random_.normal(1024, DType::kBf16)),
          .out = out,
          .eps = 1e-6},
         out);
    call("swiglu", ops::swiglu, {.gate = x, .up = values(DType::kF32, {tokens, 1024}), .limit = 10, .out = out}, out);
    call("hadamard", ops::hadamard, {.x = x.reshaped({tokens * 8, 128})}, x);
    call("round_rows", ops::round_rows,
         {.input = x, .out = out, .rounding = ops::Rounding::kFp8Block64, .channels = 960}, out);
    std::vector<std::int64_t> positions(static_cast<std::size_t>(tokens));
    for (std::size_t i = 0; i < positions.size(); ++i) positions[i] = 1048500 + static_cast<std::int64_t>(i);
    const TensorView heads = x.reshaped({tokens, 4, 256});
    call("rope", ops::rope,
         {.x = heads,
          .positions = memory_.i64({tokens}, positions),
          .frequencies = values(DType::kF32, {32}),
          .inverse = false},
         heads);
  }

  void attention_and_indexer(std::int64_t tokens) {
    constexpr std::int64_t kStart = 700;
    constexpr std::int64_t kHeads = 18;
    constexpr std::int64_t kChannels = 80;
    constexpr std::int64_t kWindow = 128;
    const StepCase step{.sequences = {{.start = kStart, .rows = tokens, .slot = 0}},
                        .slots = 1,
                        .ring_rows = kWindow,
                        .pages_per_sequence = 8};
    const std::int64_t length = kStart + tokens;
    const std::vector<History> keys = {random_.normal(length * kChannels, type_, 0.3)};
    const std::vector<History> entries = {random_.normal(length / 4 * kChannels, type_, 0.3)};
    const TensorView pages =
        memory_.tensor(type_, {step.page_count(), 32, kChannels}, pages_of(step, entries, 4, kChannels));
    const TensorView query = values(type_, {tokens, kHeads, kChannels});
    const ops::StepLayout layout = layout_of(memory_, step);
    const TensorView selected = memory_.i32({tokens, 64}, std::vector<std::int64_t>(tokens * 64, -1));
    const TensorView scores_weights = values(DType::kF32, {tokens, kHeads});
    const std::int64_t before = testing::allocations();
    const Status status = ops::indexer_select(*stream_, {.query = query,
                                                         .head_weights = scores_weights,
                                                         .weight_scale = 0.1,
                                                         .pages = pages,
                                                         .layout = layout,
                                                         .ratio = 4,
                                                         .max_entries = 256,
                                                         .selected = selected});
    EXPECT_EQ(testing::allocations(), before);
    ASSERT_TRUE(status.has_value()) << status.error().message;
    std::vector<double> chosen;
    for (const std::int64_t id : memory_.integers(selected)) chosen.push_back(static_cast<double>(id));
    outcomes_.push_back({"indexer_select", chosen});

    std::vector<std::int64_t> begin, end;
    step.for_each_row([&](std::int64_t, std::size_t, std::int64_t position) {
      begin.push_back(std::max<std::int64_t>(0, position - kWindow + 1));
      end.push_back(position + 1);
    });
    const TensorView out = memory_.empty(DType::kF32, {tokens, kHeads, kChannels});
    call("attention", ops::attention,
         {.query = query,
          .step_keys = memory_.tensor(type_, {tokens, kChannels}, step_rows(step, keys, kChannels)),
          .window = memory_.tensor(type_, {1, kWindow, kChannels}, ring_of(step, keys, kChannels)),
          .window_begin = memory_.i64({tokens}, begin),
          .window_end = memory_.i64({tokens}, end),
          .pages = pages,
          .selected = selected,
          .sink = f32_weight({kHeads}),
          .layout = layout,
          .ratio = 4,
          .max_keys = 256,
          .scale = 0.1,
          .out = out},
         out);
  }

  OpRunner memory_;
  std::unique_ptr<ops::Stream> stream_;
  DType type_;
  Buffer scratch_;
  RandomValues random_{7};
  std::vector<Outcome> outcomes_;
};

std::vector<Outcome> outcomes(std::string_view isa, int threads, DType type, std::int64_t tokens) {
  const auto backend = CpuBackend::create(threads, isa);
  EXPECT_TRUE(backend.has_value());
  return Bench(**backend, type).run(tokens);
}

TEST(CpuOperators, BitsDoNotDependOnThreadsAndNothingIsAllocated) {
  for (const std::string_view isa : instruction_sets()) {
    for (const DType type : {DType::kF32, DType::kBf16}) {
      for (const std::int64_t tokens : {1, 3, 21}) {
        const std::vector<Outcome> alone = outcomes(isa, 1, type, tokens);
        ASSERT_EQ(alone.size(), 18U);
        for (const int threads : {2, 3}) {
          const std::vector<Outcome> shared = outcomes(isa, threads, type, tokens);
          ASSERT_EQ(shared.size(), alone.size());
          for (std::size_t i = 0; i < alone.size(); ++i) {
            SCOPED_TRACE(std::string(isa) + " " + alone[i].name + " with " + std::to_string(threads) + " threads");
            for (const double value : alone[i].values) ASSERT_TRUE(std::isfinite(value));
            testing::expect_same(shared[i].values, alone[i].values);
          }
        }
      }
    }
  }
}

/// All gradients of attention, the indexer's loss and compression in a training step whose first sequence is longer
/// than a chunk of queries, so that several threads add to the same keys.
class TrainingStep {
 public:
  TrainingStep(std::string_view isa, int threads, DType type)
      : backend_(CpuBackend::create(threads, isa).value()),
        memory_(*backend_),
        stream_(backend_->create_stream()),
        type_(type),
        layout_(layout_of(memory_, step_)) {
    constexpr std::int64_t kScratch = std::int64_t{64} << 20;
    scratch_ = backend_->allocate(kScratch).value();
    stream_->set_scratch(scratch_.data(), kScratch);
    std::vector<std::int64_t> begin, end;
    step_.for_each_row([&](std::int64_t, std::size_t, std::int64_t position) {
      begin.push_back(std::max<std::int64_t>(0, position - 99));
      end.push_back(position + 1);
    });
    begin_ = memory_.i64({kRows}, begin);
    end_ = memory_.i64({kRows}, end);
    first_block_ = memory_.i32({2}, blocks_.first);
  }

  std::vector<Outcome> run() {
    attention_backward();
    indexer_loss();
    compress_backward();
    return std::move(outcomes_);
  }

 private:
  static constexpr std::int64_t kRows = 1090;
  static constexpr std::int64_t kHeads = 3;
  static constexpr std::int64_t kChannels = 32;

  template <class Args>
  void call(Status (*op)(ops::Stream&, const Args&), const std::type_identity_t<Args>& args) {
    const std::int64_t before = testing::allocations();
    const Status status = op(*stream_, args);
    EXPECT_EQ(testing::allocations(), before);
    ASSERT_TRUE(status.has_value()) << status.error().message;
  }
  TensorView values(DType type, Shape shape) {
    return memory_.tensor(type, shape, random_.normal(shape.elements(), type));
  }
  TensorView real(Shape shape) { return values(DType::kF32, shape); }
  TensorView pages() { return values(type_, {step_.page_count(), 32, kChannels}); }
  void note(std::string name, const TensorView& out) { outcomes_.push_back({std::move(name), memory_.values(out)}); }

  void attention_backward() {
    const Shape rows{kRows, kHeads, kChannels};
    const ops::AttentionBackward::Args args{.query = values(type_, rows),
                                            .step_keys = values(type_, {kRows, kChannels}),
                                            .window_begin = begin_,
                                            .window_end = end_,
                                            .pages = pages(),
                                            .selected = {},
                                            .sink = {.codes = real({kHeads}), .scales = {}},
                                            .layout = layout_,
                                            .ratio = 4,
                                            .max_keys = 400,
                                            .scale = 0.2,
                                            .out = real(rows),
                                            .log_sum = real({kRows, kHeads}),
                                            .d_out = real(rows),
                                            .first_block = first_block_,
                                            .d_query = memory_.empty(DType::kF32, rows),
                                            .d_step_keys = memory_.empty(DType::kF32, {kRows, kChannels}),
                                            .d_entries = memory_.empty(DType::kF32, {blocks_.count(), kChannels}),
                                            .d_sink = real({kHeads})};
    call(ops::attention_backward, args);
    note("attention_backward d_query", args.d_query);
    note("attention_backward d_step_keys", args.d_step_keys);
    note("attention_backward d_entries", args.d_entries);
    note("attention_backward d_sink", args.d_sink);
  }

  void indexer_loss() {
    const Shape rows{kRows, kHeads, kChannels};
    const ops::IndexerLoss::Args args{.attention_query = values(type_, rows),
                                      .attention_pages = pages(),
                                      .log_sum = real({kRows, kHeads}),
                                      .attention_scale = 0.2,
                                      .query = values(type_, rows),
                                      .head_weights = real({kRows, kHeads}),
                                      .weight_scale = 0.1,
                                      .pages = pages(),
                                      .layout = layout_,
                                      .ratio = 4,
                                      .max_entries = 300,
                                      .selected = {},
                                      .chosen = {},
                                      .first_block = first_block_,
                                      .row_weight = 1,
                                      .loss = memory_.empty(DType::kF32, {kRows}),
                                      .captured = {},
                                      .d_query = memory_.empty(DType::kF32, rows),
                                      .d_head_weights = memory_.empty(DType::kF32, {kRows, kHeads}),
                                      .d_entries = memory_.empty(DType::kF32, {blocks_.count(), kChannels})};
    call(ops::indexer_loss, args);
    note("indexer_loss", args.loss);
    note("indexer_loss d_query", args.d_query);
    note("indexer_loss d_head_weights", args.d_head_weights);
    note("indexer_loss d_entries", args.d_entries);
  }

  void compress_backward() {
    const Shape rows{kRows, 2 * kChannels};
    const ops::CompressBackward::Args args{.value = real(rows),
                                           .gate = real(rows),
                                           .last_row = memory_.i32({blocks_.count()}, blocks_.last_row),
                                           .layout = layout_,
                                           .ratio = 4,
                                           .overlap = true,
                                           .d_out = real({blocks_.count(), kChannels}),
                                           .d_value = memory_.empty(DType::kF32, rows),
                                           .d_gate = memory_.empty(DType::kF32, rows)};
    call(ops::compress_backward, args);
    note("compress_backward d_value", args.d_value);
    note("compress_backward d_gate", args.d_gate);
  }

  StepCase step_ = testing::training_step({1040, 50});
  testing::Blocks blocks_{step_, 4};
  std::unique_ptr<CpuBackend> backend_;
  OpRunner memory_;
  std::unique_ptr<ops::Stream> stream_;
  DType type_;
  Buffer scratch_;
  RandomValues random_{8};
  ops::StepLayout layout_;
  TensorView begin_, end_, first_block_;
  std::vector<Outcome> outcomes_;
};

TEST(CpuOperators, BitsOfGradientsDoNotDependOnThreads) {
  for (const std::string_view isa : instruction_sets()) {
    for (const DType type : {DType::kF32, DType::kBf16}) {
      const std::vector<Outcome> alone = TrainingStep(isa, 1, type).run();
      ASSERT_EQ(alone.size(), 10U);
      for (const int threads : {2, 3}) {
        const std::vector<Outcome> shared = TrainingStep(isa, threads, type).run();
        for (std::size_t i = 0; i < alone.size(); ++i) {
          SCOPED_TRACE(std::string(isa) + " " + alone[i].name + " with " + std::to_string(threads) + " threads");
          for (const double value : alone[i].values) ASSERT_TRUE(std::isfinite(value));
          testing::expect_same(shared[i].values, alone[i].values);
        }
      }
    }
  }
}

// A plan is made for the longest context; a step that sees less of it must not need more working memory.
TEST(CpuOperators, WorkingMemoryGrowsWithTheKeys) {
  const auto backend = CpuBackend::create(2).value();
  const TensorView query(nullptr, DType::kBf16, {64, 4, 128});
  const TensorView pages(nullptr, DType::kBf16, {8, 32, 128});
  std::int64_t select_bytes = 0;
  std::int64_t attention_bytes = 0;
  for (std::int64_t keys = 1; keys < 100000; keys += 1 + keys / 8) {
    const ops::IndexerSelect::Args select{.query = query,
                                          .head_weights = {nullptr, DType::kF32, {64, 4}},
                                          .weight_scale = 1,
                                          .pages = pages,
                                          .layout = {},
                                          .ratio = 4,
                                          .max_entries = keys,
                                          .selected = {nullptr, DType::kI32, {64, 16}}};
    const std::int64_t select_now = backend->ops().find<ops::IndexerSelect>(select)->scratch_bytes(*backend, select);
    EXPECT_GE(select_now, select_bytes) << keys << " entries";
    select_bytes = select_now;
    const ops::Attention::Args attention{.query = query,
                                         .step_keys = {},
                                         .window = {},
                                         .window_begin = {},
                                         .window_end = {},
                                         .pages = pages,
                                         .selected = {},
                                         .sink = {},
                                         .layout = {},
                                         .ratio = 4,
                                         .max_keys = keys,
                                         .scale = 1,
                                         .out = {nullptr, DType::kF32, {64, 4, 128}}};
    const std::int64_t attention_now =
        backend->ops().find<ops::Attention>(attention)->scratch_bytes(*backend, attention);
    EXPECT_GE(attention_now, attention_bytes) << keys << " keys";
    attention_bytes = attention_now;
  }
}

TEST(CpuBackendMemory, IsZeroAlignedAndTouchedLazily) {
  const auto backend = CpuBackend::create(1);
  ASSERT_TRUE(backend.has_value());
  for (const std::int64_t bytes : {std::int64_t{1}, std::int64_t{4096}, (std::int64_t{2} << 20) + 5}) {
    const auto buffer = (*backend)->allocate(bytes);
    ASSERT_TRUE(buffer.has_value());
    EXPECT_EQ(buffer->bytes(), bytes);
    const auto address = std::bit_cast<std::uintptr_t>(buffer->data());
    EXPECT_EQ(address % (bytes > (2 << 20) ? 2U << 20 : 64U), 0U);
    EXPECT_EQ(buffer->data()[0], std::byte{0});
    EXPECT_EQ(buffer->data()[bytes - 1], std::byte{0});
  }
  // Far more than the machine has: only what is touched counts.
  const auto huge = (*backend)->allocate(std::int64_t{1} << 38);
  ASSERT_TRUE(huge.has_value());
  huge->data()[std::int64_t{1} << 37] = std::byte{1};
  const auto impossible = (*backend)->allocate(std::int64_t{1} << 60);
  ASSERT_FALSE(impossible.has_value());
  EXPECT_EQ(impossible.error().code, ErrorCode::kResourceExhausted);
}

TEST(CpuBackendCreate, NamesWhatIsWrong) {
  EXPECT_EQ(CpuBackend::create(0).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(CpuBackend::create(1, "sse9").error().code, ErrorCode::kInvalidArgument);
  const auto backend = CpuBackend::create(2, "generic");
  ASSERT_TRUE(backend.has_value());
  EXPECT_EQ((*backend)->name(), "cpu");
  EXPECT_EQ((*backend)->instruction_set(), "generic");
  EXPECT_EQ((*backend)->workers(), 2);
}

}  // namespace
}  // namespace hadal::cpu
