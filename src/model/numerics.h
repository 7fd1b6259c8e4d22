#pragma once

#include <string_view>

#include "base/result.h"
#include "tensor/dtype.h"

namespace hadal::model {

/// What the forward pass rounds, and where: docs/numerics.md. Within one profile and instruction set the bits of a
/// result depend on the model and the tokens alone.
struct NumericsProfile {
  std::string_view name;
  DType real = DType::kF32;             // streams, sums, and everything between products
  DType product = DType::kF32;          // inputs of products
  DType cache = DType::kF32;            // key-value and indexer rows
  bool quantize_linear_inputs = false;  // FP8 in blocks of 128 at the input of FP8 and FP4 linears
  bool quantize_cache = false;          // FP8 in blocks of 64 on key-value rows; Hadamard and FP4 on indexer rows
};

/// The profile of that name: exact, sim, bf16, bf16_plain; exact64 and sim64 compute in double (reference backend
/// only). Errors: kInvalidArgument, naming the known ones.
[[nodiscard]] Result<NumericsProfile> numerics_profile(std::string_view name);

}  // namespace hadal::model
