#pragma once

#include <algorithm>
#include <cmath>

#include "ops/gate.h"
#include "ops/reference/elements.h"
#include "ops/reference/scratch.h"
#include "ops/reference/top_k.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const Gate::Args& args) {
  return any_f64({args.logits.type(), args.weights.type()});
}

[[nodiscard]] inline std::int64_t scratch_bytes(const Gate::Args& args) {
  const std::int64_t count = args.logits.extent(1);
  return 2 * padded_bytes<double>(count) + padded_bytes<std::int32_t>(count);
}

/// sqrt(softplus(u)); log1p keeps it exact to rounding where exp(u) is far below 1.
template <class T>
[[nodiscard]] T sqrt_softplus(T u) {
  const T softplus = u > T{20} ? u : std::log1p(std::exp(u));
  return std::sqrt(softplus);
}

template <class T>
void gate(const Gate::Args& args, Scratch scratch) {
  const std::int64_t count = args.logits.extent(1);
  const std::int64_t chosen = args.experts.extent(1);
  T* scores = scratch.take<T>(count);
  T* biased = scratch.take<T>(count);
  auto* order = scratch.take<std::int32_t>(count);
  for (std::int64_t token = 0; token < args.logits.extent(0); ++token) {
    for (std::int64_t expert = 0; expert < count; ++expert) {
      scores[expert] = sqrt_softplus(load<T>(args.logits, offset_of(args.logits, token) + expert));
    }
    auto* experts = args.experts.row<std::int32_t>(token);
    if (args.token_experts.codes.absent()) {
      for (std::int64_t expert = 0; expert < count; ++expert) {
        biased[expert] = scores[expert] + load<T>(args.bias.codes, expert);
      }
      select_top(biased, count, chosen, order);
      std::copy(order, order + chosen, experts);
    } else {
      const TensorView& table = args.token_experts.codes;
      const std::byte* row = table.bytes() + offset_of(table, args.tokens.as<std::int64_t>()[token]) * 8;
      for (std::int64_t k = 0; k < chosen; ++k) {
        experts[k] = static_cast<std::int32_t>(load_unaligned<std::int64_t>(row + k * 8));
      }
      std::sort(experts, experts + chosen);
    }
    T sum = 0;
    for (std::int64_t k = 0; k < chosen; ++k) sum += scores[experts[k]];
    for (std::int64_t k = 0; k < chosen; ++k) {
      const T weight = args.normalize ? scores[experts[k]] / sum : scores[experts[k]];
      store(args.weights, offset_of(args.weights, token) + k, weight * static_cast<T>(args.routed_scaling_factor));
    }
  }
}

}  // namespace hadal::ops::reference
