#pragma once

#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/weight_source.h"
#include "tensor/tensor.h"

namespace hadal::quant {

/// The values of a tensor in f32, whatever its type: F32, BF16, FP8 or FP4 with the scales beside it (`X.weight`,
/// `X.scale`). `shape`: the shape that the values must have. Errors: kNotFound, kCorrupt (another shape, a type that
/// holds no numbers, scales that do not fit).
[[nodiscard]] Result<std::vector<float>> read_weight(const formats::WeightSource& source, std::string_view name,
                                                     const Shape& shape);

}  // namespace hadal::quant
