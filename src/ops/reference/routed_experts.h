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
    visit_type(args.input.type(), [&]<class E>(E) {
      const auto input_row = [&](std::int64_t use) { return args.input.row<E>(uses[use].token); };
      for (std::int64_t i = 0; i < inter; ++i) {
        decode_row(args.table.gate[expert], i, decoded);
        dots<T>(decoded, hidden, count, input_row, [&](std::int64_t use, T sum) { gate[use * inter + i] = sum; });
        decode_row(args.table.up[expert], i, decoded);
        dots<T>(decoded, hidden, count, input_row, [&](std::int64_t use, T sum) { up[use * inter + i] = sum; });
      }
    });
    for (std::int64_t use = 0; use < count; ++use) {
      const T weight = load<T>(args.weights, offset_of(args.weights, uses[use].token) + uses[use].slot);
      T* activation = gate + use * inter;
      for (std::int64_t i = 0; i < inter; ++i) {
        activation[i] = weight * swiglu_value(activation[i], up[use * inter + i], static_cast<T>(args.swiglu_limit));
      }
      round_blocks(activation, inter, args.rounding);
      if (args.input.type() == DType::kBf16) {
        for (std::int64_t i = 0; i < inter; ++i) activation[i] = widen<T>(to_bf16(round_to_odd(activation[i])));
      }
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
