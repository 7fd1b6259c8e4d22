// The free functions of the backward operators on rows, streams and logits.
#include <gtest/gtest.h>

#include "check_harness.h"
#include "ops/checks.h"

namespace hadal::ops {
namespace {

using testing::expect_checked;
using testing::Memory;

TEST(BackwardChecks, RmsNorm) {
  expect_checked<RmsNormBackward>(
      rms_norm_backward,
      [](Memory& m, std::int64_t rows) {
        const TensorView d_out = m.strided(DType::kF32, {rows, 16}, 3);
        return RmsNormBackward::Args{.input = m.strided(DType::kF32, {rows, 16}, 5),
                                     .weight = m.f32_weight({16}),
                                     .d_out = d_out,
                                     .eps = 1e-6,
                                     .d_input = d_out,
                                     .d_weight = m.f32({16})};
      },
      {
          {[](auto& a, Memory& m) { a.input = m.bf16({4, 16}); },
           "rms_norm_backward: input has type bf16, expected f32 or f64"},
          {[](auto& a, Memory& m) { a.weight = m.f32_weight({8}); },
           "rms_norm_backward: weight has shape [8], expected [16] (channels of input)"},
          {[](auto& a, Memory& m) { a.d_out = m.f32({3, 16}); },
           "rms_norm_backward: d_out has shape [3, 16], expected [4, 16] (like input)"},
          {[](auto& a, Memory&) { a.eps = -1; }, "rms_norm_backward: eps is -1, expected at least 0"},
          {[](auto& a, Memory& m) { a.d_input = m.view(DType::kF64, {4, 16}); },
           "rms_norm_backward: d_input has type f64, expected f32"},
          {[](auto& a, Memory&) { a.d_input = a.input; },
           "rms_norm_backward: d_input overlaps input, expected separate memory"},
          {[](auto& a, Memory&) { a.accumulate_input = true; },
           "rms_norm_backward: d_input overlaps d_out, expected separate memory"},
          {[](auto& a, Memory& m) { a.d_weight = m.bf16({16}); },
           "rms_norm_backward: d_weight has type bf16, expected f32"},
          {[](auto& a, Memory&) { a.d_weight = a.weight.codes; },
           "rms_norm_backward: d_weight overlaps weight, expected separate memory"},
      });
}

TEST(BackwardChecks, HcPost) {
  expect_checked<HcPostBackward>(
      hc_post_backward,
      [](Memory& m, std::int64_t rows) {
        const TensorView gradient = m.f32({rows, 2, 8});
        return HcPostBackward::Args{.sublayer_output = m.f32({rows, 8}),
                                    .post = m.f32({rows, 2}),
                                    .comb = m.f32({rows, 2, 2}),
                                    .streams = m.f32({rows, 2, 8}),
                                    .d_streams_out = gradient,
                                    .d_sublayer_output = m.f32({rows, 8}),
                                    .d_post = m.f32({rows, 2}),
                                    .d_comb = m.f32({rows, 2, 2}),
                                    .d_streams = gradient};
      },
      {
          {[](auto& a, Memory& m) { a.streams = m.f32({4, 16}); },
           "hc_post_backward: streams has shape [4, 16], expected [tokens, streams, channels]"},
          {[](auto& a, Memory& m) { a.streams = m.f32({4, 9, 8}); },
           "hc_post_backward: number of streams is 9, expected at most 8"},
          {[](auto& a, Memory& m) { a.comb = m.f32({4, 2, 3}); },
           "hc_post_backward: comb has shape [4, 2, 3], expected [4, 2, 2] (tokens and streams)"},
          {[](auto& a, Memory& m) { a.d_post = m.f32({4, 3}); },
           "hc_post_backward: d_post has shape [4, 3], expected [4, 2] (like post)"},
          {[](auto& a, Memory&) { a.d_streams = a.streams; },
           "hc_post_backward: d_streams overlaps streams, expected separate memory"},
          {[](auto& a, Memory&) { a.d_post = a.post; },
           "hc_post_backward: d_post overlaps post, expected separate memory"},
          {[](auto& a, Memory&) { a.d_sublayer_output = {a.d_streams.bytes(), DType::kF32, {4, 8}}; },
           "hc_post_backward: d_sublayer_output overlaps d_streams_out, expected separate memory"},
          {[](auto& a, Memory&) { a.d_comb = {a.d_post.bytes(), DType::kF32, {4, 2, 2}}; },
           "hc_post_backward: d_post overlaps d_comb, expected separate memory"},
      });
}

TEST(BackwardChecks, HcPre) {
  expect_checked<HcPreBackward>(
      hc_pre_backward,
      [](Memory& m, std::int64_t rows) {
        return HcPreBackward::Args{.streams = m.f32({rows, 2, 8}),
                                   .fn = m.f32_weight({8, 16}),
                                   .base = m.f32_weight({8}),
                                   .scale = m.f32_weight({3}),
                                   .d_input = m.f32({rows, 8}),
                                   .d_post = m.f32({rows, 2}),
                                   .d_comb = m.f32({rows, 2, 2}),
                                   .norm_eps = 1e-6,
                                   .hc_eps = 1e-6,
                                   .sinkhorn_iterations = 20,
                                   .d_streams = m.f32({rows, 2, 8}),
                                   .d_fn = m.f32({8, 16}),
                                   .d_base = m.f32({8}),
                                   .d_scale = m.f32({3})};
      },
      {
          {[](auto& a, Memory& m) { a.fn = m.f32_weight({8, 8}); },
           "hc_pre_backward: fn has shape [8, 8], expected [8, 16] ((2 + streams) * streams, streams * channels)"},
          {[](auto& a, Memory& m) { a.d_input = m.f32({4, 16}); },
           "hc_pre_backward: d_input has shape [4, 16], expected [4, 8] (tokens and channels of streams)"},
          {[](auto& a, Memory&) { a.sinkhorn_iterations = 0; },
           "hc_pre_backward: sinkhorn_iterations is 0, expected at least 1"},
          {[](auto& a, Memory&) { a.d_streams = {}; },
           "hc_pre_backward: d_streams is absent, expected [4, 2, 8] (like streams)"},
          {[](auto& a, Memory& m) { a.d_fn = m.f32({8, 8}); },
           "hc_pre_backward: d_fn has shape [8, 8], expected [8, 16] (like fn)"},
          {[](auto& a, Memory& m) { a.d_scale = m.view(DType::kF64, {3}); },
           "hc_pre_backward: d_scale has type f64, expected f32"},
          {[](auto& a, Memory&) { a.d_streams = a.streams; },
           "hc_pre_backward: d_streams overlaps streams, expected separate memory"},
          {[](auto& a, Memory&) { a.d_fn = a.fn.codes; },
           "hc_pre_backward: d_fn overlaps fn, expected separate memory"},
          {[](auto& a, Memory&) { a.d_base = {a.d_fn.bytes(), DType::kF32, {8}}; },
           "hc_pre_backward: d_fn overlaps d_base, expected separate memory"},
      });
}

TEST(BackwardChecks, HcHead) {
  expect_checked<HcHeadBackward>(
      hc_head_backward,
      [](Memory& m, std::int64_t rows) {
        return HcHeadBackward::Args{.streams = m.f32({rows, 2, 8}),
                                    .fn = m.f32_weight({2, 16}),
                                    .base = m.f32_weight({2}),
                                    .scale = m.f32_weight({1}),
                                    .d_out = m.f32({rows, 8}),
                                    .norm_eps = 1e-6,
                                    .hc_eps = 1e-6,
                                    .d_streams = m.f32({rows, 2, 8})};
      },
      {
          {[](auto& a, Memory& m) { a.scale = m.f32_weight({3}); },
           "hc_head_backward: scale has shape [3], expected [1] (one factor)"},
          {[](auto& a, Memory& m) { a.d_out = m.bf16({4, 8}); }, "hc_head_backward: d_out has type bf16, expected f32"},
          {[](auto& a, Memory& m) { a.d_fn = m.f32({2, 8}); },
           "hc_head_backward: d_fn has shape [2, 8], expected [2, 16] (like fn)"},
          {[](auto& a, Memory&) { a.d_streams = a.streams; },
           "hc_head_backward: d_streams overlaps streams, expected separate memory"},
          {[](auto& a, Memory&) { a.d_base = a.base.codes; },
           "hc_head_backward: d_base overlaps base, expected separate memory"},
      });
}

TEST(BackwardChecks, AddPositionBias) {
  expect_checked<AddPositionBiasBackward>(
      add_position_bias_backward,
      [](Memory& m, std::int64_t rows) {
        return AddPositionBiasBackward::Args{
            .positions = m.i64({rows}), .d_x = m.f32({rows, 6}), .d_bias = m.f32({4, 6})};
      },
      {
          {[](auto& a, Memory& m) { a.positions = m.i32({4}); },
           "add_position_bias_backward: positions has type i32, expected i64"},
          {[](auto& a, Memory& m) { a.d_bias = m.f32({4, 5}); },
           "add_position_bias_backward: d_bias has shape [4, 5], expected [4, 6] (channels of d_x)"},
          {[](auto& a, Memory& m) { a.d_bias = m.f32({0, 6}); },
           "add_position_bias_backward: period of d_bias is 0, expected at least 1"},
          {[](auto& a, Memory&) { a.d_bias = a.d_x; },
           "add_position_bias_backward: d_bias overlaps d_x, expected separate memory"},
      });
}

TEST(BackwardChecks, GatherRows) {
  expect_checked<GatherRowsBackward>(
      gather_rows_backward,
      [](Memory& m, std::int64_t rows) {
        const std::int64_t gathered = rows == 0 ? 0 : 3;
        return GatherRowsBackward::Args{.d_out = m.strided(DType::kF32, {gathered, 6}, 2),
                                        .index = m.i32({gathered}),
                                        .d_input = m.strided(DType::kF32, {rows, 6}, 1)};
      },
      {
          {[](auto& a, Memory& m) { a.index = m.i64({3}); }, "gather_rows_backward: index has type i64, expected i32"},
          {[](auto& a, Memory& m) { a.d_input = m.f32({0, 6}); },
           "gather_rows_backward: number of rows of d_input is 0, expected at least 1"},
          {[](auto& a, Memory& m) { a.d_out = m.f32({4, 6}); },
           "gather_rows_backward: d_out has shape [4, 6], expected [3, 6] (rows of index, channels of d_input)"},
          {[](auto& a, Memory&) { a.d_input = a.d_out; },
           "gather_rows_backward: d_input overlaps d_out, expected separate memory"},
      });
}

TEST(BackwardChecks, MeanStreams) {
  expect_checked<MeanStreamsBackward>(
      mean_streams_backward,
      [](Memory& m, std::int64_t rows) {
        return MeanStreamsBackward::Args{.d_out = m.strided(DType::kF32, {rows, 6}, 2),
                                         .d_streams = m.f32({rows, 3, 6})};
      },
      {
          {[](auto& a, Memory& m) { a.d_streams = m.f32({4, 6}); },
           "mean_streams_backward: d_streams has shape [4, 6], expected [tokens, streams, channels]"},
          {[](auto& a, Memory& m) { a.d_out = m.f32({4, 5}); },
           "mean_streams_backward: d_out has shape [4, 5], expected [4, 6] (tokens and channels of d_streams)"},
          {[](auto& a, Memory&) { a.d_out = {a.d_streams.bytes(), DType::kF32, {4, 6}}; },
           "mean_streams_backward: d_streams overlaps d_out, expected separate memory"},
      });
}

TEST(BackwardChecks, PreviousRows) {
  expect_checked<PreviousRowsBackward>(
      previous_rows_backward,
      [](Memory& m, std::int64_t rows) {
        return PreviousRowsBackward::Args{
            .d_out = m.f32({rows, 6}), .layout = m.layout(rows, 2), .d_rows = m.f32({rows, 6})};
      },
      {
          {[](auto& a, Memory& m) { a.d_out = m.bf16({4, 6}); },
           "previous_rows_backward: d_out has type bf16, expected f32 or f64"},
          {[](auto& a, Memory& m) { a.d_rows = m.f32({5, 6}); },
           "previous_rows_backward: d_rows has shape [5, 6], expected [4, 6] (like d_out)"},
          {[](auto& a, Memory& m) { a.layout.start = m.i32({2}); },
           "previous_rows_backward: layout.start has type i32, expected i64"},
          {[](auto& a, Memory&) { a.d_rows = a.d_out; },
           "previous_rows_backward: d_rows overlaps d_out, expected separate memory"},
      });
}

TEST(BackwardChecks, Gate) {
  expect_checked<GateBackward>(
      gate_backward,
      [](Memory& m, std::int64_t rows) {
        const TensorView logits = m.f32({rows, 8});
        return GateBackward::Args{.logits = logits,
                                  .experts = m.i32({rows, 2}),
                                  .d_weights = m.f32({rows, 2}),
                                  .routed_scaling_factor = 1,
                                  .normalize = true,
                                  .sequence = m.i32({rows}),
                                  .sequences = 3,
                                  .balance_weight = 0.1,
                                  .balance_loss = m.f32({3}),
                                  .d_logits = logits};
      },
      {
          {[](auto& a, Memory& m) { a.experts = m.i32({4, 9}); },
           "gate_backward: number of chosen experts is 9, expected at most the experts of logits"},
          {[](auto& a, Memory& m) { a.d_weights = m.f32({4, 3}); },
           "gate_backward: d_weights has shape [4, 3], expected [4, 2] (like experts)"},
          {[](auto& a, Memory&) { a.sequence = {}; },
           "gate_backward: sequence is absent, expected [4] (tokens of logits)"},
          {[](auto& a, Memory&) {
             a.sequence = {};
             a.balance_loss = {};
           },
           "gate_backward: sequence is absent, expected [4] (tokens of logits)"},
          {[](auto& a, Memory&) { a.sequences = 0; }, "gate_backward: sequences is 0, expected at least 1"},
          {[](auto& a, Memory& m) { a.balance_loss = m.f32({4}); },
           "gate_backward: balance_loss has shape [4], expected [3] (sequences)"},
          {[](auto& a, Memory&) { a.d_logits = {}; },
           "gate_backward: d_logits is absent, expected [4, 8] (like logits)"},
          {[](auto& a, Memory&) { a.balance_loss = {a.d_logits.bytes(), DType::kF32, {3}}; },
           "gate_backward: balance_loss overlaps logits, expected separate memory"},
      });
}

TEST(BackwardChecks, CrossEntropy) {
  expect_checked<CrossEntropy>(
      cross_entropy,
      [](Memory& m, std::int64_t rows) {
        const TensorView logits = m.f32({rows, 8});
        return CrossEntropy::Args{
            .logits = logits, .targets = m.i32({rows}), .weight = 0.5, .loss = m.f32({rows}), .d_logits = logits};
      },
      {
          {[](auto& a, Memory& m) { a.logits = m.bf16({4, 8}); },
           "cross_entropy: logits has type bf16, expected f32 or f64"},
          {[](auto& a, Memory& m) { a.targets = m.i64({4}); }, "cross_entropy: targets has type i64, expected i32"},
          {[](auto& a, Memory& m) { a.loss = m.f32({3}); },
           "cross_entropy: loss has shape [3], expected [4] (rows of logits)"},
          {[](auto& a, Memory& m) { a.d_logits = m.f32({4, 9}); },
           "cross_entropy: d_logits has shape [4, 9], expected [4, 8] (like logits)"},
          {[](auto& a, Memory&) { a.loss = {a.logits.bytes(), DType::kF32, {4}}; },
           "cross_entropy: loss overlaps logits, expected separate memory"},
      });
}

}  // namespace
}  // namespace hadal::ops
