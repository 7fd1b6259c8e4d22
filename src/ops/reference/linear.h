#pragma once

#include "ops/linear.h"
#include "ops/reference/dots.h"
#include "ops/reference/scratch.h"
#include "ops/reference/weight_rows.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const Linear::Args& args) { return any_f64({args.input.type(), args.out.type()}); }

[[nodiscard]] inline std::int64_t scratch_bytes(const Linear::Args& args) {
  return padded_bytes<double>(args.weight.columns());
}

/// out[row][out_column + i] = input[row][input_column ..] . weight[weight_row + i] for i in [0, outputs): each weight
/// row is decoded once for all input rows. `decoded` holds weight.columns() elements.
template <class T>
void multiply(const TensorView& input, std::int64_t input_column, const Weight& weight, std::int64_t weight_row,
              std::int64_t outputs, const TensorView& out, std::int64_t out_column, T* decoded) {
  visit_type(input.type(), [&]<class E>(E) {
    for (std::int64_t i = 0; i < outputs; ++i) {
      decode_row(weight, weight_row + i, decoded);
      dots<T>(
          decoded, weight.columns(), input.extent(0),
          [&](std::int64_t row) { return input.row<E>(row) + input_column; },
          [&](std::int64_t row, T sum) { store(out, offset_of(out, row) + out_column + i, sum); });
    }
  });
}

template <class T>
void linear(const Linear::Args& args, Scratch scratch) {
  multiply(args.input, 0, args.weight, 0, args.weight.rows(), args.out, 0, scratch.take<T>(args.weight.columns()));
}

}  // namespace hadal::ops::reference
