#pragma once

#include <algorithm>

#include "ops/grouped_linear.h"
#include "ops/linear.h"
#include "ops/reference/scratch.h"
#include "ops/reference/weight_rows.h"
#include "ops/reference/weighted_rows.h"

namespace hadal::ops::reference {

/// Working memory for the gradients of `outputs` rows of a weight with `columns` columns.
[[nodiscard]] inline std::int64_t product_gradient_bytes(std::int64_t rows, std::int64_t outputs,
                                                         std::int64_t columns) {
  return padded_bytes<double>(rows * outputs) + padded_bytes<double>(outputs * columns) + padded_bytes<double>(columns);
}

/// Gradients of out = input . W^T with W the rows of `weight` from `weight_row` on, as many as d_out has columns.
template <class T>
void multiply_backward(const TensorView& input, const Weight& weight, std::int64_t weight_row, const TensorView& d_out,
                       const TensorView& d_input, bool accumulate_input, const TensorView& d_weight, Scratch scratch) {
  const std::int64_t rows = input.extent(0);
  const std::int64_t columns = input.extent(1);
  const std::int64_t outputs = d_out.extent(1);
  T* factors = scratch.take<T>(rows * outputs);
  T* matrix = scratch.take<T>(outputs * columns);
  auto* sum = scratch.take<double>(columns);
  const bool rounds = input.type() == DType::kBf16 && is_exact_in_bf16(weight);
  for (std::int64_t row = 0; row < rows; ++row) {
    load_row(d_out, offset_of(d_out, row), outputs, factors + row * outputs);
  }
  if (rounds) std::transform(factors, factors + rows * outputs, factors, round_to_bf16<T>);
  for (std::int64_t n = 0; n < outputs; ++n) decode_row(weight, weight_row + n, matrix + n * columns);
  for (std::int64_t row = 0; row < rows && !d_input.absent(); ++row) {
    std::fill_n(sum, columns, 0.0);
    add_weighted_rows(
        outputs, columns, [&](std::int64_t n) { return factors[row * outputs + n]; },
        [&](std::int64_t n) { return matrix + n * columns; }, sum);
    const std::int64_t to = offset_of(d_input, row);
    if (accumulate_input) {
      add_row(sum, columns, d_input, to);
    } else {
      store_row(sum, columns, d_input, to);
    }
  }
  if (d_weight.absent()) return;
  visit_type(input.type(), [&]<class E>(E) {
    for (std::int64_t n = 0; n < outputs; ++n) {
      std::fill_n(sum, columns, 0.0);
      add_weighted_rows(
          rows, columns, [&](std::int64_t row) { return factors[row * outputs + n]; },
          [&](std::int64_t row) { return input.row<E>(row); }, sum);
      add_row(sum, columns, d_weight, offset_of(d_weight, n));
    }
  });
}

[[nodiscard]] inline bool uses_f64(const LinearBackward::Args& args) { return any_f64({args.input.type()}); }

[[nodiscard]] inline std::int64_t scratch_bytes(const LinearBackward::Args& args) {
  return product_gradient_bytes(args.input.extent(0), args.weight.rows(), args.weight.columns());
}

template <class T>
void linear_backward(const LinearBackward::Args& args, Scratch scratch) {
  multiply_backward<T>(args.input, args.weight, 0, args.d_out, args.d_input, args.accumulate_input, args.d_weight,
                       scratch);
}

[[nodiscard]] inline bool uses_f64(const GroupedLinearBackward::Args& args) { return any_f64({args.input.type()}); }

[[nodiscard]] inline std::int64_t scratch_bytes(const GroupedLinearBackward::Args& args) {
  return product_gradient_bytes(args.input.extent(0), args.weight.rows() / args.groups, args.weight.columns());
}

template <class T>
void grouped_linear_backward(const GroupedLinearBackward::Args& args, Scratch scratch) {
  const std::int64_t columns = args.weight.columns();
  const std::int64_t outputs = args.weight.rows() / args.groups;
  for (std::int64_t group = 0; group < args.groups; ++group) {
    const auto part = [&](const TensorView& view) {
      return view.absent() ? view : view.columns(group * columns, columns);
    };
    multiply_backward<T>(part(args.input), args.weight, group * outputs, args.d_out.columns(group * outputs, outputs),
                         part(args.d_input), args.accumulate_input,
                         args.d_weight.absent() ? args.d_weight : args.d_weight.rows(group * outputs, outputs),
                         scratch);
  }
}

}  // namespace hadal::ops::reference
