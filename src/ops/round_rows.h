#pragma once

#include <cstdint>
#include <string_view>

#include "ops/backend.h"
#include "tensor/tensor.h"

namespace hadal::ops {

/// What `round_rows` does to the blocks of a row before it converts it.
enum class Rounding : std::uint8_t {
  kNone,
  kFp8Block128,  // inputs of FP8 and FP4 linears: amax floor 1e-4, scale 2^ceil(log2(amax / 448)), E4M3
  kFp8Block64,   // key-value rows: the same over 64 channels
  kFp4Block32,   // indexer rows: amax floor 6 * 2^-126, scale 2^ceil(log2(amax / 6)), E2M1
};

/// Channels of one block; 1 for kNone.
[[nodiscard]] constexpr std::int64_t block_length(Rounding rounding) {
  switch (rounding) {
    case Rounding::kFp8Block128:
      return 128;
    case Rounding::kFp8Block64:
      return 64;
    case Rounding::kFp4Block32:
      return 32;
    case Rounding::kNone:
      return 1;
  }
  return 1;
}

struct RoundRows {
  static constexpr std::string_view name = "round_rows";
  struct Args {
    TensorView input;  // [rows, C] f32 | f64; rows may be strided
    TensorView out;    // [rows, C] f32 | f64 | bf16; rows may be strided; may alias input when the types are equal
    Rounding rounding;
    std::int64_t
        channels;  // the first `channels` of a row are rounded in blocks, the rest is copied; a multiple of the block
  };
};

/// Quantises blocks of each row with a power-of-two scale and dequantises them again (spec/model.md 3.3), then converts
/// the whole row to out's type (to nearest even). Block values on the FP8 and FP4 grids are exact in bf16. Errors:
/// kInvalidArgument when shapes or types differ or channels is no multiple of the block.
[[nodiscard]] Status round_rows(Stream& stream, const RoundRows::Args& args);

}  // namespace hadal::ops
