#pragma once

#include <cstdint>
#include <string_view>

#include "ops/backend.h"
#include "tensor/tensor.h"

namespace hadal::ops {

struct CrossEntropy {
  static constexpr std::string_view name = "cross_entropy";
  struct Args {
    TensorView logits;         // [R, V] f32 | f64
    TensorView targets;        // [R] i32, each below V; negative: the row is masked
    double weight;             // factor of the gradient: 1 / number of loss rows of the whole batch
    TensorView loss;           // [R] like logits: out, not multiplied by weight; 0 for a masked row
    TensorView d_logits = {};  // [R, V] like logits: out; may alias logits; absent: not wanted
  };
};

/// loss = log(sum_v exp(logits_v)) - logits_target, largest logit subtracted first; d_logits = weight (softmax(logits)
/// - onehot(target)), zeros for a masked row. Forward and backward in one operator, so that no other copy of the
/// logits exists. Errors: kInvalidArgument when shapes or types differ. Source: spec/training.md 1.9.
[[nodiscard]] Status cross_entropy(Stream& stream, const CrossEntropy::Args& args);

}  // namespace hadal::ops
