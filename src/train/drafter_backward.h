#pragma once

#include "base/result.h"
#include "model/drafter.h"
#include "model/step.h"
#include "ops/step_layout.h"
#include "tensor/tensor.h"

namespace hadal::train {

/// The MTP layer's input backwards (spec/training.md 1.9): `d_input` [T, n, hidden_size] real is the gradient at
/// kept.streams; that at the main model's last streams is added to `d_streams` [T, n, hidden_size]. `step` has the
/// tables shifted by one position, `layout` is the main step's, `before` [T, n hidden_size] what mtp_input was given.
[[nodiscard]] Status mtp_input_backward(model::Step& step, const model::DrafterWeights& weights,
                                        const model::DrafterWeights& gradients, const ops::StepLayout& layout,
                                        const TensorView& before, const model::MtpInput& kept,
                                        const TensorView& d_input, const TensorView& d_streams);

}  // namespace hadal::train
