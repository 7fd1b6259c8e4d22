// The free functions of the backward operators of products, and of the optimizer's product.
#include <gtest/gtest.h>

#include <vector>

#include "check_harness.h"

namespace hadal::ops {
namespace {

using testing::expect_checked;
using testing::Memory;

TEST(ProductBackwardChecks, Linear) {
  expect_checked<LinearBackward>(
      linear_backward,
      [](Memory& m, std::int64_t rows) {
        return LinearBackward::Args{.input = m.strided(DType::kBf16, {rows, 96}, 8),
                                    .weight = m.fp4(130, 96),
                                    .d_out = m.strided(DType::kF32, {rows, 130}, 2),
                                    .d_input = m.strided(DType::kF32, {rows, 96}, 4),
                                    .d_weight = m.f32({130, 96})};
      },
      {
          {[](auto& a, Memory& m) { a.input = m.i32({4, 96}); },
           "linear_backward: input has type i32, expected f32, f64 or bf16"},
          {[](auto& a, Memory& m) { a.d_out = m.bf16({4, 130}); },
           "linear_backward: d_out has type bf16, expected f32"},
          {[](auto& a, Memory& m) { a.d_out = m.f32({5, 130}); },
           "linear_backward: d_out has shape [5, 130], expected [4, 130] (rows of input)"},
          {[](auto& a, Memory& m) { a.weight = m.f32_weight({96, 130}); },
           "linear_backward: weight has shape [96, 130], expected [130, 96] (columns of d_out and of input)"},
          {[](auto& a, Memory& m) { a.d_input = m.f32({4, 95}); },
           "linear_backward: d_input has shape [4, 95], expected [4, 96] (like input)"},
          {[](auto& a, Memory& m) { a.d_input = m.bf16({4, 96}); },
           "linear_backward: d_input has type bf16, expected f32"},
          {[](auto& a, Memory& m) { a.d_weight = m.f32({96, 130}); },
           "linear_backward: d_weight has shape [96, 130], expected [130, 96] (like weight)"},
          {[](auto& a, Memory&) { a.d_input = {a.d_out.bytes(), DType::kF32, {4, 96}}; },
           "linear_backward: d_input overlaps d_out, expected separate memory"},
          {[](auto& a, Memory&) { a.d_weight = {a.d_out.bytes(), DType::kF32, {130, 96}}; },
           "linear_backward: d_input overlaps d_weight, expected separate memory"},
          {[](auto& a, Memory&) { a.d_input = {}, a.d_weight = {a.d_out.bytes(), DType::kF32, {130, 96}}; },
           "linear_backward: d_weight overlaps d_out, expected separate memory"},
      });
}

TEST(ProductBackwardChecks, LinearMayLackEitherGradient) {
  testing::CountingBackend backend;
  testing::CountingStream stream(backend);
  Memory memory(true);
  LinearBackward::Args args{
      .input = memory.f32({4, 8}), .weight = memory.f32_weight({6, 8}), .d_out = memory.f32({4, 6})};
  EXPECT_TRUE(linear_backward(stream, args));
  args.d_input = memory.f32({4, 8});
  EXPECT_TRUE(linear_backward(stream, args));
  args.d_input = {};
  args.d_weight = memory.f32({6, 8});
  EXPECT_TRUE(linear_backward(stream, args));
  EXPECT_EQ(backend.calls, 3);
}

TEST(ProductBackwardChecks, GroupedLinear) {
  expect_checked<GroupedLinearBackward>(
      grouped_linear_backward,
      [](Memory& m, std::int64_t rows) {
        return GroupedLinearBackward::Args{.input = m.f32({rows, 128}),
                                           .weight = m.fp8(48, 64),
                                           .groups = 2,
                                           .d_out = m.f32({rows, 48}),
                                           .d_input = m.f32({rows, 128}),
                                           .d_weight = m.f32({48, 64})};
      },
      {
          {[](auto& a, Memory&) { a.groups = 5; },
           "grouped_linear_backward: groups is 5, expected a positive divisor of the columns of input and of d_out"},
          {[](auto& a, Memory&) { a.groups = 4; },
           "grouped_linear_backward: weight has shape [48, 64], expected [48, 32] (columns of d_out, and of input a "
           "group)"},
          {[](auto& a, Memory& m) { a.d_out = m.strided(DType::kF32, {4, 48}, 1); },
           "grouped_linear_backward: d_out of shape [4, 48] has strides [49, 1], expected contiguous memory"},
          {[](auto& a, Memory& m) { a.d_weight = m.f32({48, 128}); },
           "grouped_linear_backward: d_weight has shape [48, 128], expected [48, 64] (like weight)"},
          {[](auto& a, Memory&) { a.d_input = a.input; },
           "grouped_linear_backward: d_input overlaps input, expected separate memory"},
      });
}

TEST(ProductBackwardChecks, Swiglu) {
  expect_checked<SwigluBackward>(
      swiglu_backward,
      [](Memory& m, std::int64_t rows) {
        const Shape shape{rows, 24};
        return SwigluBackward::Args{.gate = m.f32(shape),
                                    .up = m.f32(shape),
                                    .limit = 10,
                                    .d_out = m.f32(shape),
                                    .d_gate = m.f32(shape),
                                    .d_up = m.f32(shape)};
      },
      {
          {[](auto& a, Memory& m) { a.d_out = m.bf16({4, 24}); }, "swiglu_backward: d_out has type bf16, expected f32"},
          {[](auto& a, Memory& m) { a.d_up = m.f32({4, 12}); },
           "swiglu_backward: d_up has shape [4, 12], expected [4, 24] (like gate)"},
          {[](auto& a, Memory&) { a.limit = -1; }, "swiglu_backward: limit is -1, expected at least 0"},
          {[](auto& a, Memory&) { a.d_gate = a.d_up; },
           "swiglu_backward: d_gate overlaps d_up, expected separate memory"},
          {[](auto& a, Memory& m) {
             const TensorView rows = m.f32({5, 24});
             a.gate = rows.rows(0, 4);
             a.d_up = rows.rows(1, 4);
           },
           "swiglu_backward: d_up overlaps gate, expected separate memory or exactly the same view"},
      });
}

TEST(ProductBackwardChecks, Embedding) {
  expect_checked<EmbeddingBackward>(
      embedding_backward,
      [](Memory& m, std::int64_t rows) {
        return EmbeddingBackward::Args{
            .tokens = m.i64({rows}), .d_out = m.f32({rows, 2, 8}), .d_table = m.f32({10, 8})};
      },
      {
          {[](auto& a, Memory& m) { a.tokens = m.i32({4}); }, "embedding_backward: tokens has type i32, expected i64"},
          {[](auto& a, Memory& m) { a.d_out = m.f32({3, 2, 8}); },
           "embedding_backward: d_out has shape [3, 2, 8], expected [4, 2, 8] (tokens)"},
          {[](auto& a, Memory& m) { a.d_table = m.f32({10, 16}); },
           "embedding_backward: d_table has shape [10, 16], expected [10, 8] (channels of d_out)"},
          {[](auto& a, Memory& m) { a.d_table = m.bf16({10, 8}); },
           "embedding_backward: d_table has type bf16, expected f32"},
          {[](auto& a, Memory&) { a.d_table = {a.d_out.bytes(), DType::kF32, {3, 8}}; },
           "embedding_backward: d_table overlaps d_out, expected separate memory"},
      });
}

TEST(ProductBackwardChecks, RoutedExperts) {
  std::vector<Weight> gate, up, down, d_gate, d_up, d_down;
  const auto good = [&](Memory& m, std::int64_t rows) {
    gate.assign(3, m.fp4(64, 32));
    up.assign(3, m.fp4(64, 32));
    down.assign(3, m.fp4(32, 64));
    d_gate.assign(3, m.f32_weight({64, 32}));
    d_up.assign(3, m.f32_weight({64, 32}));
    d_down.assign(3, m.f32_weight({32, 64}));
    return RoutedExpertsBackward::Args{
        .input = m.bf16({rows, 32}),
        .experts = m.i32({rows, 2}),
        .weights = m.f32({rows, 2}),
        .table = {.gate = gate.data(), .up = up.data(), .down = down.data(), .count = 3},
        .swiglu_limit = 10,
        .d_out = m.f32({rows, 32}),
        .d_input = m.f32({rows, 32}),
        .d_weights = m.f32({rows, 2}),
        .gradients = {.gate = d_gate.data(), .up = d_up.data(), .down = d_down.data(), .count = 3}};
  };
  expect_checked<RoutedExpertsBackward>(
      routed_experts_backward, good,
      {
          {[](auto& a, Memory& m) { a.experts = m.i32({3, 2}); },
           "routed_experts_backward: experts has shape [3, 2], expected [4, 2] (tokens of input)"},
          {[](auto& a, Memory& m) { a.d_out = m.bf16({4, 32}); },
           "routed_experts_backward: d_out has type bf16, expected f32"},
          {[](auto& a, Memory& m) { a.d_weights = m.f32({4, 3}); },
           "routed_experts_backward: d_weights has shape [4, 3], expected [4, 2] (like experts)"},
          {[](auto& a, Memory&) { a.table.count = 0; },
           "routed_experts_backward: number of experts of table is 0, expected at least 1, with gate, up and down"},
          {[](auto& a, Memory&) { a.gradients.count = 2; },
           "routed_experts_backward: number of experts of gradients is 2, expected as many as of table, with gate, up "
           "and down, or 0"},
          {[&](auto&, Memory& m) { d_up[0] = m.f32_weight({32, 64}); },
           "routed_experts_backward: gradient of up has shape [32, 64], expected [64, 32] (like up)"},
          {[&](auto&, Memory& m) { d_down[0].codes = m.bf16({32, 64}); },
           "routed_experts_backward: gradient of down has type bf16, expected f32"},
          {[](auto& a, Memory&) { a.d_input = a.d_out; },
           "routed_experts_backward: d_input overlaps d_out, expected separate memory"},
          {[](auto& a, Memory&) { a.d_weights = a.weights; },
           "routed_experts_backward: d_weights overlaps weights, expected separate memory"},
      });
}

TEST(ProductBackwardChecks, RoutedExpertsMayBeFrozen) {
  testing::CountingBackend backend;
  testing::CountingStream stream(backend);
  Memory m(true);
  const Weight wide = m.f32_weight({8, 16});
  const Weight down = m.f32_weight({16, 8});
  EXPECT_TRUE(routed_experts_backward(stream, {.input = m.f32({4, 16}),
                                               .experts = m.i32({4, 2}),
                                               .weights = m.f32({4, 2}),
                                               .table = {.gate = &wide, .up = &wide, .down = &down, .count = 1},
                                               .swiglu_limit = 0,
                                               .d_out = m.f32({4, 16}),
                                               .d_input = m.f32({4, 16}),
                                               .d_weights = m.f32({4, 2})}));
  EXPECT_EQ(backend.calls, 1);
}

TEST(ProductBackwardChecks, MatrixProduct) {
  expect_checked<MatrixProduct>(
      matrix_product,
      [](Memory& m, std::int64_t rows) {
        return MatrixProduct::Args{
            .a = m.f32({rows, 5, 6}), .b = m.f32({rows, 7, 6}), .out = m.f32({rows, 5, 7}), .transpose_b = true};
      },
      {
          {[](auto& a, Memory& m) { a.a = m.f32({4}); },
           "matrix_product: a has shape [4], expected [rows, columns] or [matrices, rows, columns]"},
          {[](auto& a, Memory& m) { a.b = m.bf16({4, 7, 6}); }, "matrix_product: b has type bf16, expected f32"},
          {[](auto& a, Memory& m) { a.b = m.f32({7, 6}); },
           "matrix_product: b has shape [7, 6], expected [rows, columns] or [matrices, rows, columns], like a"},
          {[](auto& a, Memory&) { a.transpose_b = false; },
           "matrix_product: b has shape [4, 7, 6], expected [4, 6, 6] (inner extent and number of a)"},
          {[](auto& a, Memory&) { a.transpose_a = true; },
           "matrix_product: b has shape [4, 7, 6], expected [4, 7, 5] (inner extent and number of a)"},
          {[](auto& a, Memory& m) { a.out = m.f32({4, 7, 5}); },
           "matrix_product: out has shape [4, 7, 5], expected [4, 5, 7] (rows of a, columns of b)"},
          {[](auto& a, Memory&) { a.out = {a.a.bytes(), DType::kF32, {4, 5, 7}}; },
           "matrix_product: out overlaps a, expected separate memory"},
      });
}

}  // namespace
}  // namespace hadal::ops
