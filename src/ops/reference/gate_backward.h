#pragma once

#include <cmath>

#include "ops/gate.h"
#include "ops/reference/elements.h"
#include "ops/reference/scratch.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const GateBackward::Args& args) { return any_f64({args.logits.type()}); }

/// Whether the sequences' balance losses are looked at.
[[nodiscard]] inline bool has_balance(const GateBackward::Args& args) {
  return args.balance_weight != 0 || !args.balance_loss.absent();
}

[[nodiscard]] inline std::int64_t scratch_bytes(const GateBackward::Args& args) {
  const std::int64_t experts = args.logits.extent(1);
  std::int64_t bytes = 3 * padded_bytes<double>(experts);
  if (has_balance(args))
    bytes += padded_bytes<double>(args.sequences * experts) + 2 * padded_bytes<double>(args.sequences);
  return bytes;
}

/// s = sqrt(softplus(u)) and ds/du. Below -20, where sigmoid(u) and s may both underflow, s is exp(u / 2) to rounding.
template <class T>
void score_and_slope(T u, T& score, T& slope) {
  if (u > T{20}) {
    score = std::sqrt(u);
    slope = 1 / (2 * score);
  } else if (u < T{-20}) {
    score = std::exp(u / 2);
    slope = score / 2;
  } else {
    score = std::sqrt(std::log1p(std::exp(u)));
    slope = 1 / (1 + std::exp(-u)) / (2 * score);
  }
}

/// How far each sequence's routing is from even, and the sums of its balance loss.
struct Balance {
  double* shares;  // [sequences, experts]: f_e
  double* rows;    // [sequences]
  double* losses;  // [sequences]
};

[[nodiscard]] inline Balance count_shares(const GateBackward::Args& args, Scratch& scratch) {
  const std::int64_t experts = args.logits.extent(1);
  const std::int64_t chosen = args.experts.extent(1);
  const Balance balance{.shares = scratch.zeros<double>(args.sequences * experts),
                        .rows = scratch.zeros<double>(args.sequences),
                        .losses = scratch.zeros<double>(args.sequences)};
  for (std::int64_t token = 0; token < args.logits.extent(0); ++token) {
    const std::int64_t sequence = args.sequence.as<std::int32_t>()[token];
    if (sequence < 0) continue;
    balance.rows[sequence] += 1;
    const auto* row = args.experts.row<std::int32_t>(token);
    for (std::int64_t slot = 0; slot < chosen; ++slot) balance.shares[sequence * experts + row[slot]] += 1;
  }
  for (std::int64_t sequence = 0; sequence < args.sequences; ++sequence) {
    for (std::int64_t expert = 0; expert < experts && balance.rows[sequence] > 0; ++expert) {
      balance.shares[sequence * experts + expert] *=
          static_cast<double>(experts) / (static_cast<double>(chosen) * balance.rows[sequence]);
    }
  }
  return balance;
}

/// d_scores [experts] from the gradient at the chosen experts' weights.
template <class T>
void route_backward(const GateBackward::Args& args, std::int64_t token, const T* scores, T* d_scores) {
  const std::int64_t chosen = args.experts.extent(1);
  const auto* experts = args.experts.row<std::int32_t>(token);
  const std::int64_t d_weights = offset_of(args.d_weights, token);
  T sum = 0;
  T inner = 0;
  for (std::int64_t slot = 0; slot < chosen; ++slot) {
    sum += scores[experts[slot]];
    inner += load<T>(args.d_weights, d_weights + slot) * scores[experts[slot]];
  }
  const auto factor = static_cast<T>(args.routed_scaling_factor);
  for (std::int64_t slot = 0; slot < chosen; ++slot) {
    const T d_weight = load<T>(args.d_weights, d_weights + slot);
    d_scores[experts[slot]] += args.normalize ? factor / sum * (d_weight - inner / sum) : factor * d_weight;
  }
}

template <class T>
void gate_backward(const GateBackward::Args& args, Scratch scratch) {
  const std::int64_t experts = args.logits.extent(1);
  T* scores = scratch.take<T>(experts);
  T* slopes = scratch.take<T>(experts);
  T* d_scores = scratch.take<T>(experts);
  Balance balance{};
  if (has_balance(args)) balance = count_shares(args, scratch);
  for (std::int64_t token = 0; token < args.logits.extent(0); ++token) {
    T sum = 0;
    for (std::int64_t expert = 0; expert < experts; ++expert) {
      score_and_slope(load<T>(args.logits, offset_of(args.logits, token) + expert), scores[expert], slopes[expert]);
      sum += scores[expert];
      d_scores[expert] = 0;
    }
    route_backward(args, token, scores, d_scores);
    const std::int64_t sequence = has_balance(args) ? args.sequence.as<std::int32_t>()[token] : -1;
    if (sequence >= 0) {
      const double* shares = balance.shares + sequence * experts;
      double mean = 0;
      for (std::int64_t expert = 0; expert < experts; ++expert) {
        mean += shares[expert] * static_cast<double>(scores[expert] / sum);
      }
      balance.losses[sequence] += mean / balance.rows[sequence];
      const T factor = static_cast<T>(args.balance_weight / balance.rows[sequence]) / sum;
      for (std::int64_t expert = 0; expert < experts; ++expert) {
        d_scores[expert] += factor * static_cast<T>(shares[expert] - mean);
      }
    }
    for (std::int64_t expert = 0; expert < experts; ++expert) d_scores[expert] *= slopes[expert];
    store_row(d_scores, experts, args.d_logits, offset_of(args.d_logits, token));
  }
  if (!args.balance_loss.absent()) store_row(balance.losses, args.sequences, args.balance_loss, 0);
}

}  // namespace hadal::ops::reference
