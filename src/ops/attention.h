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
    std::int64_t ratio;     // 0: window only
    std::int64_t max_keys;  // upper bound of the keys of any row
    double scale;           // 1 / sqrt(C)
    TensorView out;         // [T, H, C] f32 | f64: before the inverse rotation
  };
};

/// out_h = sum_j p_hj key_j with p_hj = exp(s_hj - M) / (sum_j exp(s_hj - M) + exp(sink_h - M)), s = scale * query .
/// key and M the maximum of all s_hj and sink_h. Keys in this order: window positions ascending (below layout.start
/// from the ring, else from step_keys), then compressed entries ascending: `selected`, or all j < floor((position + 1)
/// / ratio). Query-key products as in `linear`; scores, softmax, probabilities and sums in f32 (f64 for f64). The order
/// of every sum depends on the keys alone. Errors: kInvalidArgument when shapes or types differ. Source:
/// spec/model.md 2.3, 2.4; official sparse_attn.
[[nodiscard]] Status attention(Stream& stream, const Attention::Args& args);

}  // namespace hadal::ops
