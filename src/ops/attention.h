#pragma once

#include <cstdint>
#include <string_view>

#include "ops/backend.h"
#include "ops/step_layout.h"
#include "tensor/tensor.h"

namespace hadal::ops {

struct Attention {
  static constexpr std::string_view name = "attention";
  struct Args {
    TensorView query;          // [T, H, C] f32 | f64 | bf16
    TensorView step_keys;      // [rows, C] like query: key = value of this step's rows
    TensorView window;         // [slots, ring rows, C] like query: committed rows, position p in slot p mod ring rows
    TensorView window_begin;   // [T] i64: first visible position of the window
    TensorView window_end;     // [T] i64: one past the last visible position
    TensorView pages = {};     // [pages, 128 / ratio, C] like query; absent for ratio 0
    TensorView selected = {};  // [T, topk] i32, ascending, padded with -1; absent: every visible entry
    Weight sink;               // [H] f32
    StepLayout layout;
    std::int64_t ratio;       // 0: window only
    std::int64_t max_keys;    // upper bound of the keys of any row
    double scale;             // 1 / sqrt(C)
    TensorView out;           // [T, H, C] f32 | f64: before the inverse rotation
    TensorView log_sum = {};  // [T, H] like out, or absent: log(sum_j exp(s_hj) + exp(sink_h)), for the backward pass
  };
};

/// out_h = sum_j p_hj key_j with p_hj = exp(s_hj - M) / (sum_j exp(s_hj - M) + exp(sink_h - M)), s = scale * query .
/// key and M the maximum of all s_hj and sink_h. Keys in this order: window positions ascending (below layout.start
/// from the ring, else from step_keys), then compressed entries ascending: `selected`, or all j < floor((position + 1)
/// / ratio). Query-key products as in `linear`; scores, softmax, probabilities and sums in f32 (f64 for f64). The order
/// of every sum depends on the keys alone. Errors: kInvalidArgument when shapes or types differ. Source:
/// spec/model.md 2.3, 2.4; official sparse_attn.
[[nodiscard]] Status attention(Stream& stream, const Attention::Args& args);

struct AttentionBackward {
  static constexpr std::string_view name = "attention_backward";
  struct Args {
    // As in the forward call.
    TensorView query;         // [T, H, C] f32 | f64 | bf16
    TensorView step_keys;     // [T, C] like query
    TensorView window_begin;  // [T] i64
    TensorView window_end;    // [T] i64: position + 1
    TensorView pages = {};    // [pages, 128 / ratio, C] like query; absent for ratio 0
    TensorView selected = {};
    Weight sink;  // [H] f32
    StepLayout layout;
    std::int64_t ratio;
    std::int64_t max_keys;
    double scale;
    TensorView out;      // [T, H, C] f32 | f64
    TensorView log_sum;  // [T, H] like out

    TensorView d_out;        // [T, H, C] like out
    TensorView first_block;  // [S] i32: row of d_entries that belongs to entry 0 of the sequence
    TensorView d_query;      // [T, H, C] like out
    TensorView d_step_keys;  // [T, C] like out
    TensorView d_entries =
        {};                  // [blocks, C] like out: entry j of a sequence in row first_block + j; absent for ratio 0
    TensorView d_sink = {};  // [H] like out: added to; may be absent
  };
};

/// Gradients of `attention` for a step in which every sequence begins (layout.start 0, the rows of a sequence one after
/// the other, its entries made in this step): with p_hj = exp(s_hj - log_sum_h) and D_h = <d_out_h, out_h>,
///   e_hj = scale * p_hj (<d_out_h, key_j> - D_h)      d_query_h = sum_j e_hj key_j
///   d_key_j = sum over rows and heads of e_hj query_h + p_hj d_out_h      d_sink_h -= exp(sink_h - log_sum_h) D_h
/// Keys of the window give to d_step_keys, entries to d_entries; what nobody sees gets 0. A bf16 query makes the
/// products take bf16: d_out is rounded at once, e and p where they enter the sums. Query rows add to a key in
/// ascending order inside chunks of a fixed number of rows, and the chunks in ascending order. Errors: kInvalidArgument
/// when shapes or types differ. Source: spec/training.md 1.3.
[[nodiscard]] Status attention_backward(Stream& stream, const AttentionBackward::Args& args);

}  // namespace hadal::ops
