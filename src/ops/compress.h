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

}  // namespace hadal::ops
