#pragma once

#include <cstdint>
#include <string_view>

#include "ops/backend.h"
#include "ops/step_layout.h"
#include "tensor/tensor.h"

namespace hadal::ops {

struct Compress {
  static constexpr std::string_view name = "compress";
  struct Args {
    TensorView value;  // [T, c C] f32 | f64: a = wkv . x of this step's rows
    TensorView gate;   // [T, c C] like value: z = wgate . x + ape
    TensorView
        value_ring;  // [slots, ring rows, c C] like value: committed rows, row of position p in slot p mod ring rows
    TensorView gate_ring;  // like value_ring
    TensorView last_row;   // [blocks] i32: this step's row of the last token of each block that is completed
    StepLayout layout;
    std::int64_t ratio;  // tokens a block
    bool overlap;        // ratio 4: c = 2 and the block before takes part with its first half of channels
    TensorView out;      // [blocks, C] like value: pooled entries before their norm
  };
};

/// Pools the blocks that this step completes: out = sum over slots of softmax(gate) * value, per channel. Without
/// overlap the slots are the block's tokens; with overlap the previous block's tokens (channels [0, C)) and then the
/// block's own (channels [C, 2C)), the previous ones missing for block 0. Slots in token order; softmax with the
/// maximum subtracted. Ring rows: at least ratio (2 ratio with overlap). Errors: kInvalidArgument when shapes or types
/// differ. Source: spec/model.md 2.5; official class Compressor.
[[nodiscard]] Status compress(Stream& stream, const Compress::Args& args);

struct CompressBackward {
  static constexpr std::string_view name = "compress_backward";
  struct Args {
    // As in the forward call.
    TensorView value;     // [T, c C] f32 | f64
    TensorView gate;      // [T, c C] like value
    TensorView last_row;  // [blocks] i32
    StepLayout layout;
    std::int64_t ratio;
    bool overlap;

    TensorView d_out;    // [blocks, C] like value
    TensorView d_value;  // [T, c C] like value
    TensorView d_gate;   // [T, c C] like value
  };
};

/// Gradients of `compress` for a step in which every sequence begins (layout.start 0, its rows one after the other):
/// with w_s = softmax_s(gate) and out = sum_s w_s value_s, per channel, d_value_s = w_s d_out and d_gate_s = w_s d_out
/// (value_s - out). 0 where a row takes part in no block: tokens of a last incomplete block, and the first half of
/// channels of the last complete one. Errors: kInvalidArgument when shapes or types differ. Source: spec/training.md
/// 1.4.
[[nodiscard]] Status compress_backward(Stream& stream, const CompressBackward::Args& args);

}  // namespace hadal::ops
