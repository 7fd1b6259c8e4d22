#pragma once

#include <cstdint>

#include "base/result.h"
#include "model/step.h"
#include "model/weights.h"

namespace hadal::model {

/// The mixture of experts (spec/model.md 2.7): x [T, hidden_size] in the products' type -> out [T, hidden_size] real:
/// the chosen experts in ascending order, the shared expert last.
[[nodiscard]] Status moe(Step& step, const MoeWeights& weights, std::int64_t layer, const TensorView& x,
                         const TensorView& out);

}  // namespace hadal::model
