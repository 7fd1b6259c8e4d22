#pragma once

#include <algorithm>

#include "ops/reference/routed_experts.h"
#include "ops/reference/weighted_rows.h"
#include "ops/routed_experts.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const RoutedExpertsBackward::Args& args) { return any_f64({args.input.type()}); }

/// Working memory of routed_experts_backward: everything of one expert at a time.
template <class T>
struct ExpertGradientMemory {
  ExpertUse* uses;
  T* gate;       // [uses, inter]: products, then their gradients
  T* up;         // the same
  T* hidden;     // [uses, inter]: input of the down projection, rounded
  T* d_hidden;   // [inter]: its gradient for one use
  T* d_out;      // [uses, channels], rounded as products ask
  T* matrix;     // [inter, channels]: one projection
  double* sums;  // [uses or 1, channels], [inter]

  ExpertGradientMemory(Scratch scratch, std::int64_t all_uses, std::int64_t channels, std::int64_t inter)
      : uses(scratch.take<ExpertUse>(all_uses)),
        gate(scratch.take<T>(all_uses * inter)),
        up(scratch.take<T>(all_uses * inter)),
        hidden(scratch.take<T>(all_uses * inter)),
        d_hidden(scratch.take<T>(inter)),
        d_out(scratch.take<T>(all_uses * channels)),
        matrix(scratch.take<T>(inter * channels)),
        sums(scratch.take<double>(std::max(inter, all_uses * channels))) {}
};

[[nodiscard]] inline std::int64_t scratch_bytes(const RoutedExpertsBackward::Args& args) {
  const std::int64_t uses = args.experts.elements();
  const std::int64_t channels = args.input.extent(1);
  const std::int64_t inter = args.table.gate[0].rows();
  return padded_bytes<ExpertUse>(uses) + 3 * padded_bytes<double>(uses * inter) + padded_bytes<double>(inter) +
         padded_bytes<double>(uses * channels) + padded_bytes<double>(inter * channels) +
         padded_bytes<double>(std::max(inter, uses * channels));
}

/// gradient[i] += sum over the uses of factors[use][i] * row_of(use), for each of its rows i.
template <class T, class RowOf>
void add_outer_products(const T* factors, std::int64_t uses, RowOf&& row_of, const TensorView& gradient, double* sum) {
  const std::int64_t rows = gradient.extent(0);
  const std::int64_t columns = gradient.extent(1);
  for (std::int64_t i = 0; i < rows; ++i) {
    std::fill_n(sum, columns, 0.0);
    add_weighted_rows(uses, columns, [&](std::int64_t use) { return factors[use * rows + i]; }, row_of, sum);
    add_row(sum, columns, gradient, offset_of(gradient, i));
  }
}

/// The products of gate and up, and d_out's rows, of the uses of one expert.
template <class T>
void gather_uses(const RoutedExpertsBackward::Args& args, std::int64_t expert, std::int64_t count,
                 const ExpertGradientMemory<T>& memory) {
  project_uses(args.input, args.table.gate[expert], memory.uses, count, memory.matrix, memory.gate);
  project_uses(args.input, args.table.up[expert], memory.uses, count, memory.matrix, memory.up);
  const std::int64_t channels = args.d_out.extent(1);
  for (std::int64_t use = 0; use < count; ++use) {
    load_row(args.d_out, offset_of(args.d_out, memory.uses[use].token), channels, memory.d_out + use * channels);
  }
  if (args.input.type() != DType::kBf16 || !is_exact_in_bf16(args.table.down[expert])) return;
  std::transform(memory.d_out, memory.d_out + count * channels, memory.d_out, round_to_bf16<T>);
}

/// Replaces the products of gate and up by their gradients, fills `hidden` and writes d_weights of one use.
template <class T>
void activation_backward(const RoutedExpertsBackward::Args& args, std::int64_t use, const T* d_hidden,
                         const ExpertGradientMemory<T>& memory) {
  const std::int64_t inter = args.table.gate[0].rows();
  const auto [token, slot] = memory.uses[use];
  const T weight = load<T>(args.weights, offset_of(args.weights, token) + slot);
  const auto limit = static_cast<T>(args.swiglu_limit);
  T* gate = memory.gate + use * inter;
  T* up = memory.up + use * inter;
  T* hidden = memory.hidden + use * inter;
  double d_weight = 0;
  for (std::int64_t i = 0; i < inter; ++i) {
    const T activation = swiglu_value(gate[i], up[i], limit);
    const SwigluGradient<T> gradient = swiglu_gradient(gate[i], up[i], limit, weight * d_hidden[i]);
    d_weight += static_cast<double>(d_hidden[i]) * static_cast<double>(activation);
    hidden[i] = weight * activation;
    gate[i] = gradient.gate;
    up[i] = gradient.up;
  }
  round_activation(hidden, inter, args.rounding, args.input.type());
  store(args.d_weights, offset_of(args.d_weights, token) + slot, static_cast<T>(d_weight));
}

/// The same for all uses of one expert; gradients are rounded as the products that take them ask.
template <class T>
void activations_backward(const RoutedExpertsBackward::Args& args, std::int64_t expert, std::int64_t count,
                          const ExpertGradientMemory<T>& memory) {
  const Weight& down = args.table.down[expert];
  const std::int64_t inter = down.columns();
  const std::int64_t channels = down.rows();
  for (std::int64_t c = 0; c < channels; ++c) decode_row(down, c, memory.matrix + c * inter);
  for (std::int64_t use = 0; use < count; ++use) {
    std::fill_n(memory.sums, inter, 0.0);
    add_weighted_rows(
        channels, inter, [&](std::int64_t c) { return memory.d_out[use * channels + c]; },
        [&](std::int64_t c) { return memory.matrix + c * inter; }, memory.sums);
    std::transform(memory.sums, memory.sums + inter, memory.d_hidden, [](double sum) { return static_cast<T>(sum); });
    activation_backward(args, use, memory.d_hidden, memory);
  }
  if (args.input.type() != DType::kBf16 || !is_exact_in_bf16(args.table.gate[expert])) return;
  std::transform(memory.gate, memory.gate + count * inter, memory.gate, round_to_bf16<T>);
  std::transform(memory.up, memory.up + count * inter, memory.up, round_to_bf16<T>);
}

/// d_input += dg . gate + du . up, one sum a use and channel.
template <class T>
void add_input_gradients(const RoutedExpertsBackward::Args& args, std::int64_t expert, std::int64_t count,
                         const ExpertGradientMemory<T>& memory) {
  const std::int64_t inter = args.table.gate[expert].rows();
  const std::int64_t channels = args.d_input.extent(1);
  std::fill_n(memory.sums, count * channels, 0.0);
  const auto add = [&](const Weight& weight, const T* factors) {
    for (std::int64_t i = 0; i < inter; ++i) {
      decode_row(weight, i, memory.matrix);
      for (std::int64_t use = 0; use < count; ++use) {
        add_weighted_rows(
            1, channels, [&](std::int64_t) { return factors[use * inter + i]; },
            [&](std::int64_t) { return memory.matrix; }, memory.sums + use * channels);
      }
    }
  };
  add(args.table.gate[expert], memory.gate);
  add(args.table.up[expert], memory.up);
  for (std::int64_t use = 0; use < count; ++use) {
    add_row(memory.sums + use * channels, channels, args.d_input, offset_of(args.d_input, memory.uses[use].token));
  }
}

template <class T>
void add_expert_gradients(const RoutedExpertsBackward::Args& args, std::int64_t expert, std::int64_t count,
                          const ExpertGradientMemory<T>& memory) {
  const std::int64_t inter = args.table.gate[expert].rows();
  add_outer_products(
      memory.d_out, count, [&](std::int64_t use) { return memory.hidden + use * inter; },
      args.gradients.down[expert].codes, memory.sums);
  visit_type(args.input.type(), [&]<class E>(E) {
    const auto input_row = [&](std::int64_t use) { return args.input.row<E>(memory.uses[use].token); };
    add_outer_products(memory.gate, count, input_row, args.gradients.gate[expert].codes, memory.sums);
    add_outer_products(memory.up, count, input_row, args.gradients.up[expert].codes, memory.sums);
  });
}

template <class T>
void routed_experts_backward(const RoutedExpertsBackward::Args& args, Scratch scratch) {
  const ExpertGradientMemory<T> memory(scratch, args.experts.elements(), args.input.extent(1),
                                       args.table.gate[0].rows());
  for (std::int64_t i = 0; i < args.d_input.elements(); ++i) store(args.d_input, i, T{0});
  for (std::int64_t expert = 0; expert < args.table.count; ++expert) {
    const std::int64_t count = list_uses(args.experts, expert, memory.uses);
    if (count == 0) continue;
    gather_uses(args, expert, count, memory);
    activations_backward(args, expert, count, memory);
    add_input_gradients(args, expert, count, memory);
    if (args.gradients.count > 0) add_expert_gradients(args, expert, count, memory);
  }
}

}  // namespace hadal::ops::reference
