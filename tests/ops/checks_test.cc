// The free functions of the operators that need no step layout; those that do are in step_checks_test.cc.
#include "ops/checks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string_view>
#include <vector>

#include "check_harness.h"

namespace hadal::ops {
namespace {

using testing::expect_checked;
using testing::Memory;

TEST(TypeSet, NamesItsTypes) {
  EXPECT_EQ(to_string(TypeSet{DType::kI64}), "i64");
  EXPECT_EQ(to_string(kReal), "f32 or f64");
  EXPECT_EQ(to_string(TypeSet{DType::kBf16, DType::kF64, DType::kF32}), "f32, f64 or bf16");
}

struct Collect {
  std::vector<std::string_view>& names;
  template <class Op>
  void operator()() const {
    names.push_back(Op::name);
  }
};

TEST(OpList, NamesEveryOperatorOnce) {
  std::vector<std::string_view> names;
  for_each_operator(Collect{names});
  ASSERT_FALSE(names.empty());
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
}

TEST(AllocationCounter, SeesAnAllocation) {
  const std::int64_t before = hadal::testing::allocations();
  const auto text = std::make_unique<std::string>(100, 'x');
  EXPECT_EQ(hadal::testing::allocations() - before, 2);
}

TEST(Dispatch, SaysWhatABackendLacks) {
  class Empty : public testing::CountingBackend {
   public:
    [[nodiscard]] const OpTable& ops() const override { return none_; }

   private:
    OpTable none_;
  } backend;
  testing::CountingStream stream(backend);
  Memory memory(true);
  const Argmax::Args args{.logits = memory.f32({4, 10}), .out = memory.i64({4})};
  const Status status = argmax(stream, args);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kUnimplemented);
  EXPECT_EQ(status.error().message,
            "backend counting has no implementation of argmax for logits f32 [4, 10], out i64 [4]");
  StepPlan plan;
  stream.set_plan(&plan);
  EXPECT_TRUE(argmax(stream, args));
  EXPECT_TRUE(argmax(stream, args));
  ASSERT_EQ(plan.unsupported.size(), 1u);
  EXPECT_EQ(plan.unsupported[0], "operator argmax: logits f32 [4, 10], out i64 [4]");
}

TEST(Dispatch, RefusesMoreScratchThanWasPlanned) {
  testing::CountingBackend backend;
  testing::CountingStream stream(backend);
  stream.set_scratch(stream.scratch(), testing::kScratch - 1);
  Memory memory(true);
  const Status status = hadamard(stream, {.x = memory.f32({4, 8})});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kInternal);
  EXPECT_EQ(status.error().message, "operator hadamard needs more scratch memory than was planned, for x f32 [4, 8]");
  EXPECT_EQ(backend.calls, 0);
}

TEST(Checks, Embedding) {
  expect_checked<Embedding>(
      embedding,
      [](Memory& m, std::int64_t rows) {
        return Embedding::Args{
            .tokens = m.i64({rows}), .table = {.codes = m.bf16({10, 8}), .scales = {}}, .out = m.f32({rows, 2, 8})};
      },
      {
          {[](auto& a, Memory& m) { a.tokens = m.i32({4}); }, "embedding: tokens has type i32, expected i64"},
          {[](auto& a, Memory& m) { a.tokens = m.i64({4, 1}); },
           "embedding: tokens has shape [4, 1], expected [tokens]"},
          {[](auto& a, Memory& m) { a.table.codes = m.i32({10, 8}); },
           "embedding: table has type i32, expected f32 or bf16"},
          {[](auto& a, Memory& m) { a.table.scales = m.f32({1, 1}); },
           "embedding: table of type bf16 has scales [1, 1], expected none"},
          {[](auto& a, Memory&) { a.out = {}; }, "embedding: out is absent, expected [tokens, streams, channels]"},
          {[](auto& a, Memory& m) { a.out = m.f32({4, 2, 7}); },
           "embedding: out has shape [4, 2, 7], expected [4, 2, 8] (tokens and channels of the table)"},
          {[](auto& a, Memory& m) { a.out = m.strided(DType::kF32, {4, 2, 8}, 3); },
           "embedding: out of shape [4, 2, 8] has strides [19, 8, 1], expected contiguous memory"},
          {[](auto& a, Memory& m) {
             a.tokens = {m.f32({4, 2, 8}).bytes(), DType::kI64, {4}},
             a.out = {a.tokens.bytes(), DType::kF32, {4, 2, 8}};
           },
           "embedding: out overlaps tokens, expected separate memory"},
      });
}

TEST(Checks, RmsNorm) {
  expect_checked<RmsNorm>(
      rms_norm,
      [](Memory& m, std::int64_t rows) {
        return RmsNorm::Args{.input = m.strided(DType::kBf16, {rows, 128}, 5),
                             .weight = m.f32_weight({128}),
                             .out = m.f32({rows, 128}),
                             .eps = 1e-6};
      },
      {
          {[](auto& a, Memory& m) { a.input = m.f32({4, 2, 64}); },
           "rms_norm: input has shape [4, 2, 64], expected [rows, channels]"},
          {[](auto& a, Memory& m) { a.input = m.f32({4, 0}); },
           "rms_norm: input has shape [4, 0], expected [rows, channels] with positive inner extents"},
          {[](auto& a, Memory& m) { a.input = m.i32({4, 128}); },
           "rms_norm: input has type i32, expected f32, f64 or bf16"},
          {[](auto& a, Memory&) { a.input = {a.input.bytes(), DType::kBf16, {4, 128}, {100, 1, 0, 0}}; },
           "rms_norm: input of shape [4, 128] has strides [100, 1], expected contiguous rows that lie apart"},
          {[](auto& a, Memory& m) { a.weight = m.f32_weight({64}); },
           "rms_norm: weight has shape [64], expected [128] (channels of input)"},
          {[](auto& a, Memory& m) { a.out = m.f32({3, 128}); },
           "rms_norm: out has shape [3, 128], expected [4, 128] (like input)"},
          {[](auto& a, Memory& m) { a.out = m.strided(DType::kF32, {4, 128}, 1); },
           "rms_norm: out of shape [4, 128] has strides [129, 1], expected contiguous memory"},
          {[](auto& a, Memory&) { a.out = {a.input.bytes(), DType::kF32, {4, 128}}; },
           "rms_norm: out overlaps input, expected separate memory or exactly the same view"},
          {[](auto& a, Memory& m) {
             a.input = m.f32({5, 128});
             a.out = a.input.rows(1, 4);
             a.input = a.input.rows(0, 4);
           },
           "rms_norm: out overlaps input, expected separate memory or exactly the same view"},
          {[](auto& a, Memory&) { a.eps = std::nan(""); }, "rms_norm: eps is nan, expected at least 0"},
      });
}

TEST(Checks, RmsNormMayWorkInPlaceAndWithoutWeight) {
  testing::CountingBackend backend;
  testing::CountingStream stream(backend);
  Memory memory(true);
  const TensorView x = memory.f32({4, 128});
  EXPECT_TRUE(rms_norm(stream, {.input = x, .weight = {}, .out = x, .eps = 0}));
  EXPECT_EQ(backend.calls, 1);
}

TEST(Checks, Rope) {
  expect_checked<Rope>(
      rope,
      [](Memory& m, std::int64_t rows) {
        return Rope::Args{
            .x = m.f32({rows, 2, 16}), .positions = m.i64({rows}), .frequencies = m.f32({4}), .inverse = false};
      },
      {
          {[](auto& a, Memory& m) { a.x = m.bf16({4, 2, 16}); }, "rope: x has type bf16, expected f32 or f64"},
          {[](auto& a, Memory& m) { a.positions = m.i64({3}); },
           "rope: positions has shape [3], expected [4] (rows of x)"},
          {[](auto& a, Memory& m) { a.positions = m.i32({4}); }, "rope: positions has type i32, expected i64"},
          {[](auto& a, Memory& m) { a.frequencies = m.f32({9}); },
           "rope: number of rotated channels is 18, expected at most the channels of x"},
          {[](auto& a, Memory&) { a.frequencies = {a.x.bytes() + 8, DType::kF32, {4}}; },
           "rope: x overlaps frequencies, expected separate memory"},
      });
}

TEST(Checks, Linear) {
  expect_checked<Linear>(
      linear,
      [](Memory& m, std::int64_t rows) {
        return Linear::Args{.input = m.strided(DType::kBf16, {rows, 96}, 8),
                            .weight = m.fp4(130, 96),
                            .out = m.strided(DType::kF32, {rows, 130}, 2)};
      },
      {
          {[](auto& a, Memory& m) { a.input = m.bf16({4}); },
           "linear: input has shape [4], expected [rows, columns of weight]"},
          {[](auto& a, Memory& m) { a.out = m.f32({3, 130}); },
           "linear: out has shape [3, 130], expected [4, 130] (rows of input)"},
          {[](auto& a, Memory& m) { a.out = m.bf16({4, 130}); }, "linear: out has type bf16, expected f32"},
          {[](auto& a, Memory& m) { a.input = m.view(DType::kF64, {4, 96}); },
           "linear: out has type f32, expected f64"},
          {[](auto& a, Memory& m) { a.weight = m.f32_weight({96, 130}); },
           "linear: weight has shape [96, 130], expected [130, 96] (columns of out and of input)"},
          {[](auto& a, Memory& m) { a.weight.codes = m.i32({130, 96}); },
           "linear: weight has type i32, expected f32, bf16, e4m3 or e2m1x2"},
          {[](auto& a, Memory& m) { a.weight = m.fp4(130, 64); },
           "linear: weight has shape [130, 32], expected [130, 48] (columns of out and of input)"},
          {[](auto& a, Memory& m) { a.weight.scales = m.view(DType::kE8m0, {130, 2}); },
           "linear: weight has scales [130, 2], expected [130, 3] (blocks of 32 columns)"},
          {[](auto& a, Memory& m) { a.weight.scales = m.f32({130, 3}); }, "linear: weight has type f32, expected e8m0"},
          {[](auto& a, Memory& m) { a.input = m.bf16({4, 80}); },
           "linear: weight has 80 columns, expected a multiple of 32 (fp4)"},
          {[](auto& a, Memory& m) {
             a.weight = m.fp8(130, 96);
             a.weight.scales = m.view(DType::kE8m0, {1, 1});
           },
           "linear: weight has scales [1, 1], expected [2, 1] (tiles of 128 x 128)"},
          {[](auto& a, Memory& m) {
             a.weight = m.fp8(130, 96);
             a.weight.scales = {};
           },
           "linear: weight has scales [], expected [2, 1] (tiles of 128 x 128)"},
          {[](auto& a, Memory&) { a.out = {a.input.bytes(), DType::kF32, {4, 130}}; },
           "linear: out overlaps input, expected separate memory"},
          {[](auto& a, Memory&) { a.out = {a.weight.codes.bytes() + 100, DType::kF32, {4, 130}}; },
           "linear: out overlaps weight, expected separate memory"},
      });
}

TEST(Checks, LinearBetweenColumnsOfOneMatrix) {
  testing::CountingBackend backend;
  testing::CountingStream stream(backend);
  Memory memory(true);
  const TensorView matrix = memory.f32({4, 96});
  const Weight weight = memory.f32_weight({32, 64});
  EXPECT_TRUE(linear(stream, {.input = matrix.columns(0, 64), .weight = weight, .out = matrix.columns(64, 32)}));
  EXPECT_TRUE(linear(stream, {.input = matrix.columns(32, 64), .weight = weight, .out = matrix.columns(0, 32)}));
  EXPECT_EQ(backend.calls, 2);
  const Status crossing =
      linear(stream, {.input = matrix.columns(0, 64), .weight = weight, .out = matrix.columns(63, 32)});
  ASSERT_FALSE(crossing);
  EXPECT_EQ(crossing.error().message, "linear: out overlaps input, expected separate memory");
  // One row lies between the columns of others, or does not.
  const Linear::Args one{
      .input = matrix.columns(0, 64).rows(2, 1), .weight = weight, .out = matrix.columns(64, 32).rows(1, 1)};
  EXPECT_TRUE(linear(stream, one));
}

TEST(Checks, GroupedLinear) {
  expect_checked<GroupedLinear>(
      grouped_linear,
      [](Memory& m, std::int64_t rows) {
        return GroupedLinear::Args{
            .input = m.f32({rows, 128}), .weight = m.fp8(48, 64), .groups = 2, .out = m.f32({rows, 48})};
      },
      {
          {[](auto& a, Memory&) { a.groups = 0; },
           "grouped_linear: groups is 0, expected a positive divisor of the columns of input and of out"},
          {[](auto& a, Memory&) { a.groups = 5; },
           "grouped_linear: groups is 5, expected a positive divisor of the columns of input and of out"},
          {[](auto& a, Memory&) { a.groups = 4; },
           "grouped_linear: weight has shape [48, 64], expected [48, 32] (columns of out, and of input a group)"},
          {[](auto& a, Memory& m) { a.input = m.strided(DType::kF32, {4, 128}, 1); },
           "grouped_linear: input of shape [4, 128] has strides [129, 1], expected contiguous memory"},
          {[](auto& a, Memory& m) { a.out = m.f32({5, 48}); },
           "grouped_linear: out has shape [5, 48], expected [4, 48] (rows of input)"},
          {[](auto& a, Memory&) { a.out = {a.input.bytes(), DType::kF32, {4, 48}}; },
           "grouped_linear: out overlaps input, expected separate memory"},
      });
}

TEST(Checks, RoundRows) {
  expect_checked<RoundRows>(round_rows,
                            [](Memory& m, std::int64_t rows) {
                              return RoundRows::Args{.input = m.strided(DType::kF32, {rows, 160}, 16),
                                                     .out = m.strided(DType::kBf16, {rows, 160}, 32),
                                                     .rounding = Rounding::kFp8Block64,
                                                     .channels = 128};
                            },
                            {
                                {[](auto& a, Memory& m) { a.input = m.bf16({4, 160}); },
                                 "round_rows: input has type bf16, expected f32 or f64"},
                                {[](auto& a, Memory& m) { a.out = m.bf16({4, 128}); },
                                 "round_rows: out has shape [4, 128], expected [4, 160] (like input)"},
                                {[](auto& a, Memory&) { a.channels = 192; },
                                 "round_rows: channels is 192, expected between 0 and the channels of input"},
                                {[](auto& a, Memory&) { a.channels = 96; },
                                 "round_rows: channels is 96, expected a multiple of the rounding's block"},
                                {[](auto& a, Memory&) { a.out = {a.input.bytes(), DType::kBf16, {4, 160}}; },
                                 "round_rows: out overlaps input, expected separate memory or exactly the same view"},
                            });
}

TEST(Checks, Hadamard) {
  expect_checked<Hadamard>(
      hadamard, [](Memory& m, std::int64_t rows) { return Hadamard::Args{.x = m.f32({rows, 64})}; },
      {
          {[](auto& a, Memory& m) { a.x = m.f32({4, 48}); },
           "hadamard: number of channels is 48, expected a power of two"},
          {[](auto& a, Memory& m) { a.x = m.bf16({4, 64}); }, "hadamard: x has type bf16, expected f32 or f64"},
          {[](auto& a, Memory& m) { a.x = m.strided(DType::kF32, {4, 64}, 1); },
           "hadamard: x of shape [4, 64] has strides [65, 1], expected contiguous memory"},
      });
}

TEST(Checks, HcPre) {
  expect_checked<HcPre>(
      hc_pre,
      [](Memory& m, std::int64_t rows) {
        return HcPre::Args{.streams = m.f32({rows, 4, 16}),
                           .fn = m.f32_weight({24, 64}),
                           .base = m.f32_weight({24}),
                           .scale = m.f32_weight({3}),
                           .input = m.f32({rows, 16}),
                           .post = m.f32({rows, 4}),
                           .comb = m.f32({rows, 4, 4}),
                           .norm_eps = 1e-6,
                           .hc_eps = 1e-6,
                           .sinkhorn_iterations = 20};
      },
      {
          {[](auto& a, Memory& m) { a.streams = m.f32({4, 9, 16}); },
           "hc_pre: number of streams is 9, expected at most 8"},
          {[](auto& a, Memory& m) { a.fn = m.f32_weight({24, 16}); },
           "hc_pre: fn has shape [24, 16], expected [24, 64] ((2 + streams) * streams, streams * channels)"},
          {[](auto& a, Memory& m) { a.base = m.f32_weight({4}); },
           "hc_pre: base has shape [4], expected [24] ((2 + streams) * streams)"},
          {[](auto& a, Memory& m) { a.scale = m.f32_weight({1}); },
           "hc_pre: scale has shape [1], expected [3] (pre, post, comb)"},
          {[](auto& a, Memory& m) { a.input = m.view(DType::kF64, {4, 16}); },
           "hc_pre: input has type f64, expected f32"},
          {[](auto& a, Memory& m) { a.post = m.f32({4, 3}); },
           "hc_pre: post has shape [4, 3], expected [4, 4] (tokens and streams)"},
          {[](auto& a, Memory& m) { a.comb = m.f32({4, 16}); },
           "hc_pre: comb has shape [4, 16], expected [4, 4, 4] (tokens and streams)"},
          {[](auto& a, Memory&) { a.sinkhorn_iterations = 0; },
           "hc_pre: sinkhorn_iterations is 0, expected at least 1"},
          {[](auto& a, Memory&) { a.norm_eps = -1; }, "hc_pre: norm_eps is -1, expected at least 0"},
          {[](auto& a, Memory&) { a.hc_eps = -1; }, "hc_pre: hc_eps is -1, expected at least 0"},
          {[](auto& a, Memory&) { a.input = {a.streams.bytes(), DType::kF32, {4, 16}}; },
           "hc_pre: input overlaps streams, expected separate memory"},
          {[](auto& a, Memory&) { a.post = {a.comb.bytes(), DType::kF32, {4, 4}}; },
           "hc_pre: post overlaps comb, expected separate memory"},
      });
}

TEST(Checks, HcPost) {
  expect_checked<HcPost>(
      hc_post,
      [](Memory& m, std::int64_t rows) {
        return HcPost::Args{.sublayer_output = m.f32({rows, 16}),
                            .post = m.f32({rows, 4}),
                            .comb = m.f32({rows, 4, 4}),
                            .streams = m.f32({rows, 4, 16})};
      },
      {
          {[](auto& a, Memory& m) { a.sublayer_output = m.f32({4, 15}); },
           "hc_post: sublayer_output has shape [4, 15], expected [4, 16] (tokens and channels of streams)"},
          {[](auto& a, Memory& m) { a.sublayer_output = m.bf16({4, 16}); },
           "hc_post: sublayer_output has type bf16, expected f32"},
          {[](auto& a, Memory& m) { a.post = m.f32({3, 4}); },
           "hc_post: post has shape [3, 4], expected [4, 4] (tokens and streams)"},
          {[](auto& a, Memory& m) { a.comb = m.f32({4, 4, 3}); },
           "hc_post: comb has shape [4, 4, 3], expected [4, 4, 4] (tokens and streams)"},
          {[](auto& a, Memory&) { a.sublayer_output = {a.streams.bytes(), DType::kF32, {4, 16}}; },
           "hc_post: streams overlaps sublayer_output, expected separate memory"},
      });
}

TEST(Checks, HcHead) {
  expect_checked<HcHead>(
      hc_head,
      [](Memory& m, std::int64_t rows) {
        return HcHead::Args{.streams = m.f32({rows, 4, 16}),
                            .fn = m.f32_weight({4, 64}),
                            .base = m.f32_weight({4}),
                            .scale = m.f32_weight({1}),
                            .out = m.f32({rows, 16}),
                            .norm_eps = 1e-6,
                            .hc_eps = 1e-6};
      },
      {
          {[](auto& a, Memory& m) { a.fn = m.f32_weight({24, 64}); },
           "hc_head: fn has shape [24, 64], expected [4, 64] (streams, streams * channels)"},
          {[](auto& a, Memory& m) { a.base = m.f32_weight({3}); },
           "hc_head: base has shape [3], expected [4] (streams)"},
          {[](auto& a, Memory& m) { a.scale = m.f32_weight({3}); },
           "hc_head: scale has shape [3], expected [1] (one factor)"},
          {[](auto& a, Memory& m) { a.scale.codes = m.bf16({1}); }, "hc_head: scale has type bf16, expected f32"},
          {[](auto& a, Memory& m) { a.out = m.f32({4, 64}); },
           "hc_head: out has shape [4, 64], expected [4, 16] (tokens and channels of streams)"},
          {[](auto& a, Memory&) { a.out = {a.streams.bytes() + 16, DType::kF32, {4, 16}}; },
           "hc_head: out overlaps streams, expected separate memory"},
      });
}

TEST(Checks, AddPositionBias) {
  expect_checked<AddPositionBias>(
      add_position_bias,
      [](Memory& m, std::int64_t rows) {
        return AddPositionBias::Args{.x = m.f32({rows, 16}), .positions = m.i64({rows}), .bias = m.f32_weight({4, 16})};
      },
      {
          {[](auto& a, Memory& m) { a.positions = m.i64({5}); },
           "add_position_bias: positions has shape [5], expected [4] (rows of x)"},
          {[](auto& a, Memory& m) { a.bias = m.f32_weight({4, 8}); },
           "add_position_bias: bias has shape [4, 8], expected [4, 16] (channels of x)"},
          {[](auto& a, Memory& m) { a.bias = m.f32_weight({0, 16}); },
           "add_position_bias: period of bias is 0, expected at least 1"},
          {[](auto& a, Memory& m) { a.bias.codes = m.bf16({4, 16}); },
           "add_position_bias: bias has type bf16, expected f32"},
          {[](auto& a, Memory&) { a.bias.codes = {a.x.bytes(), DType::kF32, {4, 16}}; },
           "add_position_bias: x overlaps bias, expected separate memory"},
      });
}

TEST(Checks, Swiglu) {
  expect_checked<Swiglu>(
      swiglu,
      [](Memory& m, std::int64_t rows) {
        return Swiglu::Args{.gate = m.f32({rows, 24}), .up = m.f32({rows, 24}), .limit = 10, .out = m.bf16({rows, 24})};
      },
      {
          {[](auto& a, Memory& m) { a.up = m.f32({4, 23}); },
           "swiglu: up has shape [4, 23], expected [4, 24] (like gate)"},
          {[](auto& a, Memory& m) { a.up = m.view(DType::kF64, {4, 24}); }, "swiglu: up has type f64, expected f32"},
          {[](auto& a, Memory& m) { a.out = m.bf16({24, 4}); },
           "swiglu: out has shape [24, 4], expected [4, 24] (like gate)"},
          {[](auto& a, Memory&) { a.limit = -1; }, "swiglu: limit is -1, expected at least 0"},
          {[](auto& a, Memory&) { a.out = {a.gate.bytes(), DType::kBf16, {4, 24}}; },
           "swiglu: out overlaps gate, expected separate memory or exactly the same view"},
          {[](auto& a, Memory&) { a.out = a.up; }, "swiglu: out overlaps up, expected separate memory"},
      });
}

TEST(Checks, Add) {
  expect_checked<Add>(
      add,
      [](Memory& m, std::int64_t rows) {
        return Add::Args{.a = m.strided(DType::kF32, {rows, 8}, 4),
                         .b = m.strided(DType::kF32, {rows / 2, 8}, 16),
                         .repeat = 2,
                         .out = m.f32({rows, 8})};
      },
      {
          {[](auto& a, Memory&) { a.repeat = 0; }, "add: repeat is 0, expected a positive divisor of the rows of a"},
          {[](auto& a, Memory&) { a.repeat = 3; }, "add: repeat is 3, expected a positive divisor of the rows of a"},
          {[](auto& a, Memory&) { a.repeat = 1; },
           "add: b has shape [2, 8], expected [4, 8] (rows of a / repeat, channels of a)"},
          {[](auto& a, Memory& m) { a.out = m.bf16({4, 8}); }, "add: out has type bf16, expected f32"},
          {[](auto& a, Memory&) { a.b = a.a.rows(0, 2), a.out = a.a; },
           "add: out overlaps b, expected separate memory"},
          {[](auto& a, Memory& m) {
             a.a = m.f32({5, 8});
             a.out = a.a.rows(1, 4);
             a.a = a.a.rows(0, 4);
           },
           "add: out overlaps a, expected separate memory or exactly the same view"},
      });
}

TEST(Checks, GatherRows) {
  expect_checked<GatherRows>(
      gather_rows,
      [](Memory& m, std::int64_t rows) {
        return GatherRows::Args{.input = m.strided(DType::kBf16, {9, 8}, 4),
                                .index = m.i32({rows}),
                                .out = m.strided(DType::kF32, {rows, 8}, 4)};
      },
      {
          {[](auto& a, Memory& m) { a.input = m.bf16({0, 8}); },
           "gather_rows: number of rows of input is 0, expected at least 1"},
          {[](auto& a, Memory& m) { a.index = m.i64({4}); }, "gather_rows: index has type i64, expected i32"},
          {[](auto& a, Memory& m) { a.index = m.i32({3}); },
           "gather_rows: out has shape [4, 8], expected [3, 8] (rows of index, channels of input)"},
          {[](auto& a, Memory&) { a.out = a.input.rows(5, 4); },
           "gather_rows: out overlaps input, expected separate memory"},
      });
}

TEST(Checks, MeanStreams) {
  expect_checked<MeanStreams>(
      mean_streams,
      [](Memory& m, std::int64_t rows) {
        return MeanStreams::Args{.streams = m.f32({rows, 4, 16}), .out = m.strided(DType::kF32, {rows, 16}, 32)};
      },
      {
          {[](auto& a, Memory& m) { a.streams = m.f32({4, 64}); },
           "mean_streams: streams has shape [4, 64], expected [tokens, streams, channels]"},
          {[](auto& a, Memory& m) { a.out = m.bf16({4, 16}); }, "mean_streams: out has type bf16, expected f32"},
          {[](auto& a, Memory& m) { a.out = m.f32({4, 4}); },
           "mean_streams: out has shape [4, 4], expected [4, 16] (tokens and channels of streams)"},
          {[](auto& a, Memory&) { a.out = {a.streams.bytes(), DType::kF32, {4, 16}, {64, 1, 0, 0}}; },
           "mean_streams: out overlaps streams, expected separate memory"},
      });
}

TEST(Checks, Argmax) {
  expect_checked<Argmax>(
      argmax,
      [](Memory& m, std::int64_t rows) { return Argmax::Args{.logits = m.f32({rows, 100}), .out = m.i64({rows})}; },
      {
          {[](auto& a, Memory& m) { a.logits = m.bf16({4, 100}); },
           "argmax: logits has type bf16, expected f32 or f64"},
          {[](auto& a, Memory& m) { a.logits = m.f32({4, 0}); },
           "argmax: logits has shape [4, 0], expected [rows, vocabulary] with positive inner extents"},
          {[](auto& a, Memory& m) { a.out = m.i32({4}); }, "argmax: out has type i32, expected i64"},
          {[](auto& a, Memory& m) { a.out = m.i64({5}); }, "argmax: out has shape [5], expected [4] (rows of logits)"},
          {[](auto& a, Memory&) { a.out = {a.logits.bytes() + 400, DType::kI64, {4}}; },
           "argmax: out overlaps logits, expected separate memory"},
      });
}

}  // namespace
}  // namespace hadal::ops
