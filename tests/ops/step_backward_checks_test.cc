// The free functions of the gradients that read a step's layout.
#include <gtest/gtest.h>

#include "check_harness.h"

namespace hadal::ops {
namespace {

using testing::expect_checked;
using testing::Memory;

AttentionBackward::Args attention_args(Memory& m, std::int64_t rows) {
  return {.query = m.bf16({rows, 2, 16}),
          .step_keys = m.bf16({rows, 16}),
          .window_begin = m.i64({rows}),
          .window_end = m.i64({rows}),
          .pages = m.strided(DType::kBf16, {6, 32, 16}, 64),
          .selected = m.i32({rows, 8}),
          .sink = m.f32_weight({2}),
          .layout = m.layout(rows, 2),
          .ratio = 4,
          .max_keys = 16,
          .scale = 0.25,
          .out = m.f32({rows, 2, 16}),
          .log_sum = m.f32({rows, 2}),
          .d_out = m.f32({rows, 2, 16}),
          .first_block = m.i32({2}),
          .d_query = m.f32({rows, 2, 16}),
          .d_step_keys = m.f32({rows, 16}),
          .d_entries = m.f32({rows / 4, 16}),
          .d_sink = m.f32({2})};
}

TEST(StepBackwardChecks, Attention) {
  expect_checked<AttentionBackward>(
      attention_backward, attention_args,
      {
          {[](auto& a, Memory& m) { a.query = m.bf16({4, 32}); },
           "attention_backward: query has shape [4, 32], expected [tokens, heads, channels]"},
          {[](auto& a, Memory& m) { a.step_keys = m.bf16({5, 16}); },
           "attention_backward: step_keys has shape [5, 16], expected [4, 16] (tokens and channels of query)"},
          {[](auto& a, Memory& m) { a.window_begin = m.i32({4}); },
           "attention_backward: window_begin has type i32, expected i64"},
          {[](auto& a, Memory& m) { a.window_end = m.i64({3}); },
           "attention_backward: window_end has shape [3], expected [4] (tokens of query)"},
          {[](auto& a, Memory&) { a.ratio = 2; },
           "attention_backward: pages has shape [6, 32, 16], expected [6, 64, 16] (entries a page, channels of query)"},
          {[](auto& a, Memory&) {
             a.ratio = 0;
             a.pages = {};
             a.selected = {};
           },
           "attention_backward: d_entries has shape [1, 16], expected none (ratio is 0)"},
          {[](auto& a, Memory& m) { a.first_block = m.i32({3}); },
           "attention_backward: first_block has shape [3], expected [2] (sequences of the step)"},
          {[](auto& a, Memory& m) { a.d_entries = m.f32({1, 8}); },
           "attention_backward: d_entries has shape [1, 8], expected [1, 16] (channels of query)"},
          {[](auto& a, Memory& m) { a.selected = m.i32({3, 8}); },
           "attention_backward: selected has shape [3, 8], expected [4, 8] (tokens of query)"},
          {[](auto& a, Memory& m) { a.sink = m.f32_weight({3}); },
           "attention_backward: sink has shape [3], expected [2] (heads of query)"},
          {[](auto& a, Memory&) { a.max_keys = -1; }, "attention_backward: max_keys is -1, expected at least 0"},
          {[](auto& a, Memory& m) { a.log_sum = m.f32({4, 3}); },
           "attention_backward: log_sum has shape [4, 3], expected [4, 2] (tokens and heads of query)"},
          {[](auto& a, Memory& m) { a.d_out = m.bf16({4, 2, 16}); },
           "attention_backward: d_out has type bf16, expected f32"},
          {[](auto& a, Memory& m) { a.d_sink = m.f32({3}); },
           "attention_backward: d_sink has shape [3], expected [2] (heads of query)"},
          {[](auto& a, Memory&) { a.d_query = a.d_out; },
           "attention_backward: d_query overlaps d_out, expected separate memory"},
          {[](auto& a, Memory&) { a.d_step_keys = {a.d_query.bytes(), DType::kF32, {4, 16}}; },
           "attention_backward: d_step_keys overlaps d_query, expected separate memory"},
      });
}

TEST(StepBackwardChecks, AttentionOverTheWindowNeedsNoEntries) {
  expect_checked<AttentionBackward>(attention_backward,
                                    [](Memory& m, std::int64_t rows) {
                                      AttentionBackward::Args args = attention_args(m, rows);
                                      args.ratio = 0;
                                      args.pages = {};
                                      args.selected = {};
                                      args.first_block = {};
                                      args.d_entries = {};
                                      args.d_sink = {};
                                      args.layout.page_table = {};
                                      return args;
                                    },
                                    {});
}

TEST(StepBackwardChecks, Compress) {
  expect_checked<CompressBackward>(
      compress_backward,
      [](Memory& m, std::int64_t rows) {
        return CompressBackward::Args{.value = m.f32({rows, 32}),
                                      .gate = m.f32({rows, 32}),
                                      .last_row = m.i32({rows / 4}),
                                      .layout = m.layout(rows, 2),
                                      .ratio = 4,
                                      .overlap = true,
                                      .d_out = m.f32({rows / 4, 16}),
                                      .d_value = m.f32({rows, 32}),
                                      .d_gate = m.f32({rows, 32})};
      },
      {
          {[](auto& a, Memory& m) { a.value = m.bf16({4, 32}); },
           "compress_backward: value has type bf16, expected f32 or f64"},
          {[](auto& a, Memory& m) { a.gate = m.f32({4, 16}); },
           "compress_backward: gate has shape [4, 16], expected [4, 32] (like value)"},
          {[](auto& a, Memory& m) { a.last_row = m.i32({5}); },
           "compress_backward: number of blocks is 5, expected at most the tokens of the step"},
          {[](auto& a, Memory&) { a.ratio = 0; }, "compress_backward: ratio is 0, expected at least 1"},
          {[](auto& a, Memory&) { a.overlap = false; },
           "compress_backward: d_out has shape [1, 16], expected [1, 32] (blocks, channels of value)"},
          {[](auto& a, Memory& m) { a.d_value = m.f32({3, 32}); },
           "compress_backward: d_value has shape [3, 32], expected [4, 32] (like value)"},
          {[](auto& a, Memory&) { a.d_gate = a.d_value; },
           "compress_backward: d_gate overlaps d_value, expected separate memory"},
      });
}

TEST(StepBackwardChecks, IndexerLoss) {
  expect_checked<IndexerLoss>(
      indexer_loss,
      [](Memory& m, std::int64_t rows) {
        return IndexerLoss::Args{.attention_query = m.bf16({rows, 3, 16}),
                                 .attention_pages = m.strided(DType::kBf16, {6, 32, 16}, 64),
                                 .log_sum = m.f32({rows, 3}),
                                 .attention_scale = 0.25,
                                 .query = m.bf16({rows, 2, 8}),
                                 .head_weights = m.f32({rows, 2}),
                                 .weight_scale = 0.25,
                                 .pages = m.strided(DType::kBf16, {6, 32, 8}, 64),
                                 .layout = m.layout(rows, 2),
                                 .ratio = 4,
                                 .max_entries = 100,
                                 .selected = m.i32({rows, 8}),
                                 .chosen = m.i32({rows, 5}),
                                 .first_block = m.i32({2}),
                                 .row_weight = 1,
                                 .loss = m.f32({rows}),
                                 .captured = m.f32({rows}),
                                 .d_query = m.f32({rows, 2, 8}),
                                 .d_head_weights = m.f32({rows, 2}),
                                 .d_entries = m.f32({rows / 4, 8})};
      },
      {
          {[](auto& a, Memory& m) { a.query = m.f32({4, 2, 8}); }, "indexer_loss: query has type f32, expected bf16"},
          {[](auto& a, Memory& m) { a.query = m.bf16({3, 2, 8}); },
           "indexer_loss: query has shape [3, 2, 8], expected [4, 2, 8] (tokens of attention_query)"},
          {[](auto& a, Memory& m) { a.log_sum = m.f32({4, 2}); },
           "indexer_loss: log_sum has shape [4, 2], expected [4, 3] (tokens and heads of attention_query)"},
          {[](auto& a, Memory& m) { a.head_weights = m.f32({4, 3}); },
           "indexer_loss: head_weights has shape [4, 3], expected [4, 2] (tokens and heads of query)"},
          {[](auto& a, Memory&) { a.ratio = 0; }, "indexer_loss: ratio is 0, expected a positive divisor of 128"},
          {[](auto& a, Memory& m) { a.attention_pages = m.bf16({6, 32, 8}); },
           "indexer_loss: attention_pages has shape [6, 32, 8], expected [6, 32, 16] (entries a page, channels of "
           "attention_query)"},
          {[](auto& a, Memory& m) { a.chosen = m.i32({3, 5}); },
           "indexer_loss: chosen has shape [3, 5], expected [4, 5] (tokens of attention_query)"},
          {[](auto& a, Memory&) { a.chosen = {}; },
           "indexer_loss: captured has shape [4], expected none (chosen is absent)"},
          {[](auto& a, Memory&) { a.captured = {}; },
           "indexer_loss: captured is absent, expected [4] (tokens of attention_query)"},
          {[](auto& a, Memory& m) { a.first_block = m.i64({2}); },
           "indexer_loss: first_block has type i64, expected i32"},
          {[](auto& a, Memory& m) { a.d_entries = m.f32({1, 16}); },
           "indexer_loss: d_entries has shape [1, 16], expected [1, 8] (channels of query)"},
          {[](auto& a, Memory&) { a.d_head_weights = a.head_weights; },
           "indexer_loss: d_head_weights overlaps head_weights, expected separate memory"},
      });
}

}  // namespace
}  // namespace hadal::ops
