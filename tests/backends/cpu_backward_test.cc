// The backward operators on rows, streams and routes: the same bits for any number of threads, rows that do not depend
// on other rows of the step, and no allocation.

#include <cmath>
#include <string>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/kernels/kernels.h"
#include "ops/add_position_bias.h"
#include "ops/cross_entropy.h"
#include "ops/gate.h"
#include "ops/gather_rows.h"
#include "ops/hc_head.h"
#include "ops/hc_post.h"
#include "ops/hc_pre.h"
#include "ops/mean_streams.h"
#include "ops/previous_rows.h"
#include "ops/rms_norm.h"
#include "ops/step_case.h"
#include "testing/allocation_counter.h"
#include "testing/compare.h"

namespace hadal::cpu {
namespace {

using testing::OpRunner;
using testing::RandomValues;

constexpr std::int64_t kStreams = 4;
constexpr std::int64_t kWidth = 40;

/// One result, with the name that a failure shows. Per row of the step, or one sum over all of them.
struct Outcome {
  std::string name;
  std::vector<double> values;
  bool by_row;
};

/// Runs every operator once for `tokens` rows; the first rows are the same whatever the number.
class Trial {
 public:
  Trial(ops::Backend& backend, std::int64_t tokens)
      : backend_(backend), memory_(backend), stream_(backend.create_stream()), tokens_(tokens) {}

  std::vector<Outcome> run() {
    hyper_connections();
    norms_and_losses();
    routes();
    moved_rows();
    return std::move(outcomes_);
  }

 private:
  template <class Args>
  void call(Status (*op)(ops::Stream&, const Args&), const std::type_identity_t<Args>& args) {
    ops::StepPlan plan;
    stream_->set_plan(&plan);
    ASSERT_TRUE(op(*stream_, args).has_value());
    stream_->set_plan(nullptr);
    ASSERT_TRUE(plan.unsupported.empty()) << plan.unsupported.front();
    const Buffer scratch = backend_.allocate(plan.scratch_bytes).value();
    stream_->set_scratch(scratch.data(), plan.scratch_bytes);
    const std::int64_t before = testing::allocations();
    const Status status = op(*stream_, args);
    EXPECT_EQ(testing::allocations(), before);
    ASSERT_TRUE(status.has_value()) << status.error().message;
  }
  /// Values whose rows are drawn one after the other.
  TensorView values(Shape shape) {
    return memory_.tensor(DType::kF32, shape, RandomValues(++seed_).normal(shape.elements(), DType::kF32));
  }
  TensorView zeros(Shape shape) {
    return memory_.tensor(DType::kF32, shape, std::vector<double>(static_cast<std::size_t>(shape.elements()), 0));
  }
  ops::Weight weight(Shape shape, double deviation) {
    return memory_.weight(DType::kF32, shape, RandomValues(++seed_).normal(shape.elements(), DType::kF32, deviation));
  }
  TensorView integers(std::int64_t count, auto&& value) {
    std::vector<std::int64_t> all;
    for (std::int64_t i = 0; i < count; ++i) all.push_back(value(i));
    return memory_.i32({count}, all);
  }
  void rows(std::string name, const TensorView& view) {
    outcomes_.push_back({std::move(name), memory_.values(view), true});
  }
  void sum(std::string name, const TensorView& view) {
    outcomes_.push_back({std::move(name), memory_.values(view), false});
  }

  void hyper_connections() {
    constexpr std::int64_t kLength = kStreams * kWidth;
    const TensorView streams = values({tokens_, kStreams, kWidth});
    const TensorView d_streams = values({tokens_, kStreams, kWidth});
    const TensorView d_input = values({tokens_, kWidth});
    const TensorView d_post = zeros({tokens_, kStreams});
    const TensorView d_comb = zeros({tokens_, kStreams, kStreams});
    const TensorView d_output = zeros({tokens_, kWidth});
    call(ops::hc_post_backward, {.sublayer_output = values({tokens_, kWidth}),
                                 .post = values({tokens_, kStreams}),
                                 .comb = values({tokens_, kStreams, kStreams}),
                                 .streams = streams,
                                 .d_streams_out = d_streams,
                                 .d_sublayer_output = d_output,
                                 .d_post = d_post,
                                 .d_comb = d_comb,
                                 .d_streams = d_streams});
    rows("hc_post_backward d_sublayer_output", d_output);
    rows("hc_post_backward d_comb", d_comb);
    const TensorView d_fn = zeros({24, kLength});
    const TensorView d_base = zeros({24});
    const TensorView d_scale = zeros({3});
    call(ops::hc_pre_backward, {.streams = streams,
                                .fn = weight({24, kLength}, 0.1),
                                .base = weight({24}, 1),
                                .scale = weight({3}, 1),
                                .d_input = d_input,
                                .d_post = d_post,
                                .d_comb = d_comb,
                                .norm_eps = 1e-6,
                                .hc_eps = 1e-6,
                                .sinkhorn_iterations = 20,
                                .d_streams = d_streams,
                                .d_fn = d_fn,
                                .d_base = d_base,
                                .d_scale = d_scale});
    rows("hc_pre_backward d_streams", d_streams);
    sum("hc_pre_backward d_fn", d_fn);
    sum("hc_pre_backward d_base", d_base);
    sum("hc_pre_backward d_scale", d_scale);
    const TensorView d_head_fn = zeros({kStreams, kLength});
    call(ops::hc_head_backward, {.streams = streams,
                                 .fn = weight({kStreams, kLength}, 0.1),
                                 .base = weight({kStreams}, 1),
                                 .scale = weight({1}, 1),
                                 .d_out = d_input,
                                 .norm_eps = 1e-6,
                                 .hc_eps = 1e-6,
                                 .d_streams = d_streams,
                                 .d_fn = d_head_fn});
    rows("hc_head_backward d_streams", d_streams);
    sum("hc_head_backward d_fn", d_head_fn);
    call(ops::mean_streams_backward, {.d_out = d_input, .d_streams = d_streams});
    rows("mean_streams_backward", d_streams);
  }

  void norms_and_losses() {
    constexpr std::int64_t kChannels = 500;
    const TensorView d_input = zeros({tokens_, kChannels});
    const TensorView d_weight = zeros({kChannels});
    const TensorView x = values({tokens_, kChannels});
    call(ops::rms_norm_backward, {.input = x,
                                  .weight = weight({kChannels}, 1),
                                  .d_out = values({tokens_, kChannels}),
                                  .eps = 1e-6,
                                  .d_input = d_input,
                                  .d_weight = d_weight});
    rows("rms_norm_backward d_input", d_input);
    sum("rms_norm_backward d_weight", d_weight);
    const TensorView loss = zeros({tokens_});
    call(ops::cross_entropy,
         {.logits = x,
          .targets = integers(tokens_, [](std::int64_t row) { return row % 7 == 3 ? -1 : row * 31 % kChannels; }),
          .weight = 0.01,
          .loss = loss,
          .d_logits = x});
    rows("cross_entropy loss", loss);
    rows("cross_entropy d_logits", x);
    std::vector<std::int64_t> positions(static_cast<std::size_t>(tokens_));
    for (std::size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<std::int64_t>(i) + 5;
    const TensorView d_bias = zeros({4, kChannels});
    call(ops::add_position_bias_backward, {.positions = memory_.i64({tokens_}, positions), .d_x = x, .d_bias = d_bias});
    sum("add_position_bias_backward", d_bias);
  }

  void routes() {
    constexpr std::int64_t kExperts = 64;
    std::vector<std::int64_t> chosen;
    for (std::int64_t token = 0; token < tokens_; ++token) {
      for (std::int64_t slot = 0; slot < 3; ++slot) chosen.push_back((token * 5) % 20 + slot * 20);
    }
    const TensorView d_logits = zeros({tokens_, kExperts});
    const TensorView balance_loss = zeros({3});
    ops::GateBackward::Args args{.logits = values({tokens_, kExperts}),
                                 .experts = memory_.i32({tokens_, 3}, chosen),
                                 .d_weights = values({tokens_, 3}),
                                 .routed_scaling_factor = 1.5,
                                 .normalize = true,
                                 .d_logits = d_logits};
    call(ops::gate_backward, args);
    rows("gate_backward d_logits", d_logits);
    args.sequence = integers(tokens_, [](std::int64_t row) { return row % 3; });
    args.sequences = 3;
    args.balance_weight = 1;
    args.balance_loss = balance_loss;
    call(ops::gate_backward, args);
    sum("gate_backward d_logits with balance loss", d_logits);  // shares count all rows of a sequence
    sum("gate_backward balance_loss", balance_loss);
  }

  void moved_rows() {
    const TensorView d_out = values({tokens_, kWidth});
    const TensorView gathered = zeros({50, kWidth});
    call(ops::gather_rows_backward, {.d_out = d_out,
                                     .index = integers(tokens_, [](std::int64_t row) { return row * 7 % 50; }),
                                     .d_input = gathered});
    sum("gather_rows_backward", gathered);
    const testing::StepCase step{.sequences = {{.start = 0, .rows = tokens_ / 3, .slot = 0},
                                               {.start = 0, .rows = tokens_ - tokens_ / 3, .slot = 0}}};
    const TensorView d_rows = values({tokens_, kWidth});
    call(ops::previous_rows_backward, {.d_out = d_out, .layout = layout_of(memory_, step), .d_rows = d_rows});
    sum("previous_rows_backward", d_rows);
  }

  ops::Backend& backend_;
  OpRunner memory_;
  std::unique_ptr<ops::Stream> stream_;
  std::int64_t tokens_;
  std::uint64_t seed_ = 0;
  std::vector<Outcome> outcomes_;
};

std::vector<Outcome> outcomes(std::string_view isa, int threads, std::int64_t tokens) {
  const auto backend = CpuBackend::create(threads, isa).value();
  return Trial(*backend, tokens).run();
}

TEST(CpuBackward, BitsDoNotDependOnThreads) {
  for (const std::string_view isa : kInstructionSets) {
    if (!kernel_table(isa)) continue;
    for (const std::int64_t tokens : {3, 300}) {
      const std::vector<Outcome> alone = outcomes(isa, 1, tokens);
      ASSERT_EQ(alone.size(), 19U);
      for (const int threads : {2, 3}) {
        const std::vector<Outcome> shared = outcomes(isa, threads, tokens);
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

TEST(CpuBackward, RowsDoNotDependOnTheirNumber) {
  for (const std::string_view isa : kInstructionSets) {
    if (!kernel_table(isa)) continue;
    const std::vector<Outcome> many = outcomes(isa, 2, 77);
    for (const std::int64_t tokens : {1, 5, 18}) {
      const std::vector<Outcome> few = outcomes(isa, 2, tokens);
      for (std::size_t i = 0; i < few.size(); ++i) {
        if (!few[i].by_row) continue;
        SCOPED_TRACE(std::string(isa) + " " + few[i].name + " of " + std::to_string(tokens) + " rows");
        testing::expect_same(few[i].values, std::span(many[i].values).first(few[i].values.size()));
      }
    }
  }
}

}  // namespace
}  // namespace hadal::cpu
