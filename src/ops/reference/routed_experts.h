#pragma once

#include <algorithm>

#include "ops/reference/dots.h"
#include "ops/reference/round_rows.h"
#include "ops/reference/scratch.h"
#include "ops/reference/swiglu.h"
#include "ops/reference/weight_rows.h"
#include "ops/routed_experts.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const RoutedExperts::Args& args) {
  return any_f64({args.input.type(), args.weights.type(), args.out.type()});
}

/// One use of an expert: token and slot of its row in `experts` and `weights`.
struct ExpertUse {
  std::int64_t token;
  std::int64_t slot;
};

[[nodiscard]] inline std::int64_t scratch_bytes(const RoutedExperts::Args& args) {
  const std::int64_t uses = args.experts.extent(0) * args.experts.extent(1);
  const std::int64_t hidden = args.input.extent(1);
  const std::int64_t inter = args.table.count > 0 ? args.table.gate[0].rows() : 0;
  return padded_bytes<ExpertUse>(uses) + 2 * padded_bytes<double>(uses * inter) +
         padded_bytes<double>(std::max(hidden, inter));
}

/// The uses of one expert, tokens and then slots ascending. Returns their number.
inline std::int64_t list_uses(const TensorView& experts, std::int64_t expert, ExpertUse* uses) {
  std::int64_t count = 0;
  for (std::int64_t token = 0; token < experts.extent(0); ++token) {
    for (std::int64_t slot = 0; slot < experts.extent(1); ++slot) {
      if (experts.row<std::int32_t>(token)[slot] == expert) uses[count++] = {.token = token, .slot = slot};
    }
  }
  return count;
}

/// out[use][i] = weight[i] . input row of the use, for every row i of the weight; `decoded` holds one such row.
template <class T>
void project_uses(const TensorView& input, const Weight& weight, const ExpertUse* uses, std::int64_t count, T* decoded,
                  T* out) {
  visit_type(input.type(), [&]<class E>(E) {
    for (std::int64_t i = 0; i < weight.rows(); ++i) {
      decode_row(weight, i, decoded);
      dots<T>(
          decoded, weight.columns(), count, [&](std::int64_t use) { return input.row<E>(uses[use].token); },
          [&](std::int64_t use, T sum) { out[use * weight.rows() + i] = sum; });
    }
  });
}

/// Rounds the input of a down projection as the profile and the type of the operator's input ask.
template <class T>
void round_activation(T* activation, std::int64_t inter, Rounding rounding, DType input_type) {
  round_blocks(activation, inter, rounding);
  if (input_type != DType::kBf16) return;
  for (std::int64_t i = 0; i < inter; ++i) activation[i] = round_to_bf16(activation[i]);
}

template <class T>
void routed_experts(const RoutedExperts::Args& args, Scratch scratch) {
  const std::int64_t hidden = args.input.extent(1);
  const std::int64_t inter = args.table.gate[0].rows();
  const std::int64_t all_uses = args.experts.extent(0) * args.experts.extent(1);
  auto* uses = scratch.take<ExpertUse>(all_uses);
  T* gate = scratch.take<T>(all_uses * inter);
  T* up = scratch.take<T>(all_uses * inter);
  T* decoded = scratch.take<T>(std::max(hidden, inter));
  for (std::int64_t token = 0; token < args.out.extent(0); ++token) {
    for (std::int64_t c = 0; c < hidden; ++c) store(args.out, offset_of(args.out, token) + c, T{0});
  }
  for (std::int64_t expert = 0; expert < args.table.count; ++expert) {
    const std::int64_t count = list_uses(args.experts, expert, uses);
    if (count == 0) continue;
    project_uses(args.input, args.table.gate[expert], uses, count, decoded, gate);
    project_uses(args.input, args.table.up[expert], uses, count, decoded, up);
    for (std::int64_t use = 0; use < count; ++use) {
      const T weight = load<T>(args.weights, offset_of(args.weights, uses[use].token) + uses[use].slot);
      T* activation = gate + use * inter;
      for (std::int64_t i = 0; i < inter; ++i) {
        activation[i] = weight * swiglu_value(activation[i], up[use * inter + i], static_cast<T>(args.swiglu_limit));
      }
      round_activation(activation, inter, args.rounding, args.input.type());
    }
    for (std::int64_t c = 0; c < hidden; ++c) {
      decode_row(args.table.down[expert], c, decoded);
      dots<T>(
          decoded, inter, count, [&](std::int64_t use) { return gate + use * inter; },
          [&](std::int64_t use, T sum) {
            const std::int64_t at = offset_of(args.out, uses[use].token) + c;
            store(args.out, at, load<T>(args.out, at) + sum);
          });
    }
  }
}

}  // namespace hadal::ops::reference
