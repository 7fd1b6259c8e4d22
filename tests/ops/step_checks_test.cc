// The free functions of the operators that read a step's layout, the gate and the mixture.
#include <gtest/gtest.h>

#include <vector>

#include "check_harness.h"

namespace hadal::ops {
namespace {

using testing::expect_checked;
using testing::Memory;

TEST(StepChecks, Compress) {
  expect_checked<Compress>(
      compress,
      [](Memory& m, std::int64_t rows) {
        return Compress::Args{.value = m.f32({rows, 32}),
                              .gate = m.f32({rows, 32}),
                              .value_ring = m.strided(DType::kF32, {3, 8, 32}, 512),
                              .gate_ring = m.strided(DType::kF32, {3, 8, 32}, 512),
                              .last_row = m.i32({rows / 4}),
                              .layout = m.layout(rows, 2),
                              .ratio = 4,
                              .overlap = true,
                              .out = m.f32({rows / 4, 16})};
      },
      {
          {[](auto& a, Memory& m) { a.value = m.bf16({4, 32}); }, "compress: value has type bf16, expected f32 or f64"},
          {[](auto& a, Memory& m) { a.gate = m.f32({4, 16}); },
           "compress: gate has shape [4, 16], expected [4, 32] (like value)"},
          {[](auto& a, Memory& m) { a.value_ring = m.f32({3, 8, 16}); },
           "compress: value_ring has shape [3, 8, 16], expected [3, 8, 32] (columns of value)"},
          {[](auto& a, Memory&) { a.value_ring = {a.value_ring.bytes(), DType::kF32, {3, 8, 32}, {768, 33, 1, 0}}; },
           "compress: value_ring of shape [3, 8, 32] has strides [768, 33, 1], expected contiguous rows that lie "
           "apart"},
          {[](auto& a, Memory& m) { a.gate_ring = m.f32({2, 8, 32}); },
           "compress: gate_ring has shape [2, 8, 32], expected [3, 8, 32] (like value_ring)"},
          {[](auto& a, Memory& m) { a.last_row = m.i32({5}); },
           "compress: number of blocks is 5, expected at most the tokens of the step"},
          {[](auto& a, Memory&) { a.ratio = 5; }, "compress: number of ring rows is 8, expected at least 2 * ratio"},
          {[](auto& a, Memory&) { a.ratio = 0; }, "compress: ratio is 0, expected at least 1"},
          {[](auto& a, Memory&) { a.overlap = false; },
           "compress: out has shape [1, 16], expected [1, 32] (blocks, channels of value)"},
          {[](auto& a, Memory& m) { a.layout.positions = m.i64({3}); },
           "compress: layout.positions has shape [3], expected [4] (rows of the step)"},
          {[](auto& a, Memory& m) { a.layout.sequence = m.i64({4}); },
           "compress: layout.sequence has type i64, expected i32"},
          {[](auto& a, Memory& m) { a.layout.start = m.i64({1}); },
           "compress: layout.start has shape [1], expected [2] (sequences of the step)"},
          {[](auto& a, Memory&) { a.layout.state_slot = {}; },
           "compress: layout.state_slot is absent, expected [2] (sequences of the step)"},
          {[](auto& a, Memory&) { a.out = a.gate.columns(0, 16).rows(1, 1); },
           "compress: out overlaps gate, expected separate memory"},
      });
}

TEST(StepChecks, CompressTakesInterleavedRings) {
  testing::CountingBackend backend;
  testing::CountingStream stream(backend);
  Memory memory(true);
  const TensorView pool = memory.f32({3, 2 * 8 * 32});
  const Compress::Args args{.value = memory.f32({4, 32}),
                            .gate = memory.f32({4, 32}),
                            .value_ring = {pool.bytes(), DType::kF32, {3, 8, 32}, {512, 32, 1, 0}},
                            .gate_ring = {pool.columns(256, 256).bytes(), DType::kF32, {3, 8, 32}, {512, 32, 1, 0}},
                            .last_row = memory.i32({1}),
                            .layout = memory.layout(4, 2),
                            .ratio = 8,
                            .overlap = false,
                            .out = memory.f32({1, 32})};
  EXPECT_TRUE(compress(stream, args));
  EXPECT_EQ(backend.calls, 1);
}

TEST(StepChecks, PlanMayBoundTheBlocksLoosely) {
  testing::CountingBackend backend;
  testing::CountingStream stream(backend);
  StepPlan plan;
  stream.set_plan(&plan);
  Memory memory(false);
  const StepLayout layout = memory.layout(2, 2);
  EXPECT_TRUE(compress(stream, {.value = memory.f32({2, 32}),
                                .gate = memory.f32({2, 32}),
                                .value_ring = memory.f32({3, 4, 32}),
                                .gate_ring = memory.f32({3, 4, 32}),
                                .last_row = memory.i32({3}),
                                .layout = layout,
                                .ratio = 4,
                                .overlap = false,
                                .out = memory.f32({3, 32})}));
  EXPECT_TRUE(append_entries(stream, {.rows = memory.f32({3, 32}),
                                      .last_row = memory.i32({3}),
                                      .layout = layout,
                                      .ratio = 4,
                                      .pages = memory.f32({6, 32, 32})}));
}

TEST(StepChecks, AppendEntries) {
  expect_checked<AppendEntries>(
      append_entries,
      [](Memory& m, std::int64_t rows) {
        return AppendEntries::Args{.rows = m.bf16({rows, 16}),
                                   .last_row = m.i32({rows}),
                                   .layout = m.layout(4 * rows, 2),
                                   .ratio = 4,
                                   .pages = m.strided(DType::kBf16, {6, 32, 16}, 64)};
      },
      {
          {[](auto& a, Memory& m) { a.last_row = m.i32({3}); },
           "append_entries: last_row has shape [3], expected [4] (blocks of rows)"},
          {[](auto& a, Memory& m) { a.layout = m.layout(3, 2); },
           "append_entries: number of blocks is 4, expected at most the tokens of the step"},
          {[](auto& a, Memory&) { a.ratio = 0; }, "append_entries: ratio is 0, expected a positive divisor of 128"},
          {[](auto& a, Memory&) { a.ratio = 3; }, "append_entries: ratio is 3, expected a positive divisor of 128"},
          {[](auto& a, Memory&) { a.ratio = 128; },
           "append_entries: pages has shape [6, 32, 16], expected [6, 1, 16] (entries a page, channels of rows)"},
          {[](auto& a, Memory& m) { a.pages = m.f32({6, 32, 16}); },
           "append_entries: pages has type f32, expected bf16"},
          {[](auto& a, Memory& m) { a.layout.page_table = m.i32({2}); },
           "append_entries: layout.page_table has shape [2], expected [sequences, pages]"},
          {[](auto& a, Memory&) { a.rows = {a.pages.bytes() + 64, DType::kBf16, {4, 16}}; },
           "append_entries: pages overlaps rows, expected separate memory"},
      });
}

TEST(StepChecks, IndexerSelect) {
  expect_checked<IndexerSelect>(
      indexer_select,
      [](Memory& m, std::int64_t rows) {
        return IndexerSelect::Args{.query = m.bf16({rows, 2, 16}),
                                   .head_weights = m.f32({rows, 2}),
                                   .weight_scale = 0.25,
                                   .pages = m.strided(DType::kBf16, {6, 32, 16}, 64),
                                   .layout = m.layout(rows, 2),
                                   .ratio = 4,
                                   .max_entries = 100,
                                   .selected = m.i32({rows, 8})};
      },
      {
          {[](auto& a, Memory& m) { a.query = m.bf16({4, 32}); },
           "indexer_select: query has shape [4, 32], expected [tokens, heads, channels]"},
          {[](auto& a, Memory& m) { a.head_weights = m.f32({4, 3}); },
           "indexer_select: head_weights has shape [4, 3], expected [4, 2] (tokens and heads of query)"},
          {[](auto& a, Memory& m) { a.head_weights = m.bf16({4, 2}); },
           "indexer_select: head_weights has type bf16, expected f32"},
          {[](auto& a, Memory& m) { a.pages = m.f32({6, 32, 16}); },
           "indexer_select: pages has type f32, expected bf16"},
          {[](auto& a, Memory& m) { a.pages = m.bf16({6, 32, 8}); },
           "indexer_select: pages has shape [6, 32, 8], expected [6, 32, 16] (entries a page, channels of query)"},
          {[](auto& a, Memory&) { a.ratio = 256; }, "indexer_select: ratio is 256, expected a positive divisor of 128"},
          {[](auto& a, Memory&) { a.max_entries = -1; }, "indexer_select: max_entries is -1, expected at least 0"},
          {[](auto& a, Memory& m) { a.selected = m.i32({4, 0}); },
           "indexer_select: selected has shape [4, 0], expected [tokens, topk] with positive inner extents"},
          {[](auto& a, Memory& m) { a.selected = m.i32({5, 8}); },
           "indexer_select: selected has shape [5, 8], expected [4, 8] (tokens of query)"},
          {[](auto& a, Memory& m) { a.layout = m.layout(5, 2); },
           "indexer_select: layout.positions has shape [5], expected [4] (rows of the step)"},
          {[](auto& a, Memory&) { a.selected = {a.query.bytes(), DType::kI32, {4, 8}}; },
           "indexer_select: selected overlaps query, expected separate memory"},
      });
}

Attention::Args attention_args(Memory& m, std::int64_t rows) {
  return {.query = m.bf16({rows, 2, 16}),
          .step_keys = m.bf16({rows, 16}),
          .window = m.strided(DType::kBf16, {3, 8, 16}, 64),
          .window_begin = m.i64({rows}),
          .window_end = m.i64({rows}),
          .pages = m.strided(DType::kBf16, {6, 32, 16}, 64),
          .selected = m.i32({rows, 8}),
          .sink = m.f32_weight({2}),
          .layout = m.layout(rows, 2),
          .ratio = 4,
          .max_keys = 16,
          .scale = 0.25,
          .out = m.f32({rows, 2, 16})};
}

TEST(StepChecks, Attention) {
  expect_checked<Attention>(
      attention, attention_args,
      {
          {[](auto& a, Memory& m) { a.query = m.bf16({4, 32}); },
           "attention: query has shape [4, 32], expected [tokens, heads, channels]"},
          {[](auto& a, Memory& m) { a.step_keys = m.f32({4, 16}); },
           "attention: step_keys has type f32, expected bf16"},
          {[](auto& a, Memory& m) { a.step_keys = m.bf16({4, 8}); },
           "attention: step_keys has shape [4, 8], expected [4, 16] (channels of query)"},
          {[](auto& a, Memory& m) { a.window = m.bf16({3, 8, 8}); },
           "attention: window has shape [3, 8, 8], expected [3, 8, 16] (channels of query)"},
          {[](auto& a, Memory& m) { a.window_begin = m.i32({4}); },
           "attention: window_begin has type i32, expected i64"},
          {[](auto& a, Memory& m) { a.window_end = m.i64({3}); },
           "attention: window_end has shape [3], expected [4] (tokens of query)"},
          {[](auto& a, Memory&) { a.ratio = 0; }, "attention: pages has shape [6, 32, 16], expected none (ratio is 0)"},
          {[](auto& a, Memory&) {
             a.ratio = 0;
             a.pages = {};
           },
           "attention: selected has shape [4, 8], expected none (ratio is 0)"},
          {[](auto& a, Memory&) { a.ratio = -4; }, "attention: ratio is -4, expected a positive divisor of 128"},
          {[](auto& a, Memory&) { a.ratio = 2; },
           "attention: pages has shape [6, 32, 16], expected [6, 64, 16] (entries a page, channels of query)"},
          {[](auto& a, Memory& m) { a.layout.page_table = m.i32({1, 4}); },
           "attention: layout.page_table has shape [1, 4], expected [2, 4] (sequences of the step)"},
          {[](auto& a, Memory& m) { a.selected = m.i32({3, 8}); },
           "attention: selected has shape [3, 8], expected [4, 8] (tokens of query)"},
          {[](auto& a, Memory& m) { a.sink = m.f32_weight({3}); },
           "attention: sink has shape [3], expected [2] (heads of query)"},
          {[](auto& a, Memory&) { a.max_keys = -1; }, "attention: max_keys is -1, expected at least 0"},
          {[](auto& a, Memory& m) { a.out = m.bf16({4, 2, 16}); }, "attention: out has type bf16, expected f32"},
          {[](auto& a, Memory& m) { a.layout = m.layout(3, 2); },
           "attention: layout.positions has shape [3], expected [4] (rows of the step)"},
          {[](auto& a, Memory&) { a.out = {a.query.bytes(), DType::kF32, {4, 2, 16}}; },
           "attention: out overlaps query, expected separate memory"},
          {[](auto& a, Memory&) { a.out = {a.window.bytes(), DType::kF32, {4, 2, 16}}; },
           "attention: out overlaps window, expected separate memory"},
      });
}

TEST(StepChecks, AttentionOverTheWindowNeedsNoPages) {
  expect_checked<Attention>(attention,
                            [](Memory& m, std::int64_t rows) {
                              Attention::Args args = attention_args(m, rows);
                              args.ratio = 0;
                              args.pages = {};
                              args.selected = {};
                              args.layout.page_table = {};
                              return args;
                            },
                            {});
}

TEST(StepChecks, LearnedGate) {
  expect_checked<Gate>(
      gate,
      [](Memory& m, std::int64_t rows) {
        return Gate::Args{.logits = m.f32({rows, 16}),
                          .bias = m.f32_weight({16}),
                          .token_experts = {},
                          .tokens = {},
                          .routed_scaling_factor = 1.5,
                          .normalize = true,
                          .experts = m.i32({rows, 6}),
                          .weights = m.f32({rows, 6})};
      },
      {
          {[](auto& a, Memory& m) { a.logits = m.bf16({4, 16}); }, "gate: logits has type bf16, expected f32 or f64"},
          {[](auto& a, Memory& m) { a.bias = m.f32_weight({15}); },
           "gate: bias has shape [15], expected [16] (experts of logits)"},
          {[](auto& a, Memory&) { a.bias = {}; }, "gate: bias is absent, expected [16] (experts of logits)"},
          {[](auto& a, Memory& m) { a.experts = m.i32({4, 17}); },
           "gate: number of chosen experts is 17, expected at most the experts of logits"},
          {[](auto& a, Memory& m) { a.experts = m.i64({4, 6}); }, "gate: experts has type i64, expected i32"},
          {[](auto& a, Memory& m) { a.weights = m.f32({4, 5}); },
           "gate: weights has shape [4, 5], expected [4, 6] (like experts)"},
          {[](auto& a, Memory& m) { a.weights = m.view(DType::kF64, {4, 6}); },
           "gate: weights has type f64, expected f32"},
          {[](auto& a, Memory&) { a.experts = {a.weights.bytes(), DType::kI32, {4, 6}}; },
           "gate: weights overlaps experts, expected separate memory"},
          {[](auto& a, Memory&) { a.weights = {a.logits.bytes(), DType::kF32, {4, 6}}; },
           "gate: weights overlaps logits, expected separate memory"},
      });
}

TEST(StepChecks, HashGate) {
  expect_checked<Gate>(
      gate,
      [](Memory& m, std::int64_t rows) {
        return Gate::Args{.logits = m.f32({rows, 16}),
                          .bias = {},
                          .token_experts = {.codes = m.i64({100, 6}), .scales = {}},
                          .tokens = m.i64({rows}),
                          .routed_scaling_factor = 1.5,
                          .normalize = true,
                          .experts = m.i32({rows, 6}),
                          .weights = m.f32({rows, 6})};
      },
      {
          {[](auto& a, Memory& m) { a.bias = m.f32_weight({16}); },
           "gate: bias has shape [16], expected none (token_experts is given)"},
          {[](auto& a, Memory& m) { a.token_experts.codes = m.i32({100, 6}); },
           "gate: token_experts has type i32, expected i64"},
          {[](auto& a, Memory& m) { a.token_experts.codes = m.i64({100, 8}); },
           "gate: token_experts has shape [100, 8], expected [100, 6] (like experts)"},
          {[](auto& a, Memory&) { a.tokens = {}; }, "gate: tokens is absent, expected [4] (tokens of logits)"},
          {[](auto& a, Memory& m) { a.tokens = m.i32({4}); }, "gate: tokens has type i32, expected i64"},
      });
}

TEST(StepChecks, RoutedExperts) {
  std::vector<Weight> gate;
  std::vector<Weight> up;
  std::vector<Weight> down;
  const auto good = [&](Memory& m, std::int64_t rows) {
    gate.assign(3, m.fp4(64, 32));
    up.assign(3, m.fp4(64, 32));
    down.assign(3, m.fp4(32, 64));
    return RoutedExperts::Args{.input = m.bf16({rows, 32}),
                               .experts = m.i32({rows, 2}),
                               .weights = m.f32({rows, 2}),
                               .table = {.gate = gate.data(), .up = up.data(), .down = down.data(), .count = 3},
                               .swiglu_limit = 10,
                               .rounding = Rounding::kFp4Block32,
                               .out = m.f32({rows, 32})};
  };
  expect_checked<RoutedExperts>(
      routed_experts, good,
      {
          {[](auto& a, Memory& m) { a.experts = m.i32({3, 2}); },
           "routed_experts: experts has shape [3, 2], expected [4, 2] (tokens of input)"},
          {[](auto& a, Memory& m) { a.weights = m.f32({4, 3}); },
           "routed_experts: weights has shape [4, 3], expected [4, 2] (like experts)"},
          {[](auto& a, Memory& m) { a.weights = m.bf16({4, 2}); },
           "routed_experts: weights has type bf16, expected f32"},
          {[](auto& a, Memory& m) { a.out = m.f32({4, 16}); },
           "routed_experts: out has shape [4, 16], expected [4, 32] (like input)"},
          {[](auto& a, Memory&) { a.swiglu_limit = -2; }, "routed_experts: swiglu_limit is -2, expected at least 0"},
          {[](auto& a, Memory&) { a.table.count = 0; },
           "routed_experts: number of experts of table is 0, expected at least 1, with gate, up and down"},
          {[](auto& a, Memory&) { a.table.up = nullptr; },
           "routed_experts: number of experts of table is 3, expected at least 1, with gate, up and down"},
          {[](auto& a, Memory&) { a.rounding = Rounding::kFp8Block128; },
           "routed_experts: number of rows of gate is 64, expected a positive multiple of the rounding's block"},
          {[&](auto&, Memory& m) { gate[0] = m.fp4(64, 64); },
           "routed_experts: gate has shape [64, 32], expected [64, 16] (channels of input)"},
          {[&](auto&, Memory& m) { up[0] = m.fp4(32, 32); },
           "routed_experts: up has shape [32, 16], expected [64, 16] (like gate)"},
          {[&](auto&, Memory& m) { down[0] = m.fp4(64, 32); },
           "routed_experts: down has shape [64, 16], expected [32, 32] (like gate, transposed)"},
          {[](auto& a, Memory&) { a.out = {a.input.bytes(), DType::kF32, {4, 32}}; },
           "routed_experts: out overlaps input, expected separate memory"},
      });

  // A plan looks at every expert of the table.
  testing::CountingBackend backend;
  testing::CountingStream stream(backend);
  StepPlan plan;
  stream.set_plan(&plan);
  Memory memory(false);
  const RoutedExperts::Args args = good(memory, 4);
  down[2] = memory.fp4(64, 32);
  const Status refused = routed_experts(stream, args);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message,
            "routed_experts: down has shape [64, 16], expected [32, 32] (like gate, transposed)");
}

TEST(StepChecks, PreviousRows) {
  expect_checked<PreviousRows>(
      previous_rows,
      [](Memory& m, std::int64_t rows) {
        return PreviousRows::Args{.rows = m.f32({rows, 16}),
                                  .ring = m.strided(DType::kF32, {3, 2, 16}, 64),
                                  .layout = m.layout(rows, 2),
                                  .out = m.f32({rows, 16})};
      },
      {
          {[](auto& a, Memory& m) { a.rows = m.bf16({4, 16}); },
           "previous_rows: rows has type bf16, expected f32 or f64"},
          {[](auto& a, Memory& m) { a.ring = m.f32({3, 2, 8}); },
           "previous_rows: ring has shape [3, 2, 8], expected [3, 2, 16] (channels of rows)"},
          {[](auto& a, Memory& m) { a.out = m.f32({3, 16}); },
           "previous_rows: out has shape [3, 16], expected [4, 16] (like rows)"},
          {[](auto& a, Memory& m) { a.layout.first_row = m.i64({2}); },
           "previous_rows: layout.first_row has type i64, expected i32"},
          {[](auto& a, Memory&) { a.out = a.rows; }, "previous_rows: out overlaps rows, expected separate memory"},
      });
}

TEST(StepChecks, CommitRows) {
  expect_checked<CommitRows>(
      commit_rows,
      [](Memory& m, std::int64_t rows) {
        return CommitRows::Args{.rows = m.bf16({rows, 16}),
                                .ring = m.strided(DType::kBf16, {3, 8, 16}, 64),
                                .count = m.i32({2}),
                                .position_offset = -1,
                                .layout = m.layout(rows, 2)};
      },
      {
          {[](auto& a, Memory& m) { a.ring = m.f32({3, 8, 16}); }, "commit_rows: ring has type f32, expected bf16"},
          {[](auto& a, Memory& m) { a.ring = m.bf16({3, 16}); },
           "commit_rows: ring has shape [3, 16], expected [slots, ring rows, channels]"},
          {[](auto& a, Memory& m) { a.ring = m.bf16({3, 8, 8}); },
           "commit_rows: ring has shape [3, 8, 8], expected [3, 8, 16] (channels of rows)"},
          {[](auto& a, Memory& m) { a.count = m.i32({3}); },
           "commit_rows: layout.first_row has shape [2], expected [3] (sequences of the step)"},
          {[](auto& a, Memory& m) { a.count = m.i64({2}); }, "commit_rows: count has type i64, expected i32"},
          {[](auto& a, Memory&) { a.rows = {a.ring.bytes(), DType::kBf16, {4, 16}}; },
           "commit_rows: ring overlaps rows, expected separate memory"},
      });
}

TEST(StepChecks, CommitOfNoSequencesIsOk) {
  testing::CountingBackend backend;
  testing::CountingStream stream(backend);
  Memory memory(true);
  EXPECT_TRUE(commit_rows(stream, {.rows = memory.bf16({4, 16}),
                                   .ring = memory.bf16({3, 8, 16}),
                                   .count = memory.i32({0}),
                                   .position_offset = 0,
                                   .layout = memory.layout(4, 0)}));
  EXPECT_EQ(backend.calls, 0);
}

}  // namespace
}  // namespace hadal::ops
