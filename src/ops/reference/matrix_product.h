#pragma once

#include "ops/matrix_product.h"
#include "ops/reference/elements.h"
#include "ops/reference/scratch.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const MatrixProduct::Args& args) { return any_f64({args.a.type()}); }

template <class T>
void matrix_product(const MatrixProduct::Args& args, Scratch) {
  const auto [batch, rows, columns, inner] = MatrixProductExtents(args);
  visit_type(args.a.type(), [&]<class E>(E) {
    const auto factor = [&](E value) {
      const auto wide = widen<double>(value);
      return args.bf16 ? round_to_bf16(wide) : wide;
    };
    for (std::int64_t matrix = 0; matrix < batch; ++matrix) {
      const E* a = args.a.as<E>() + matrix * rows * inner;
      const E* b = args.b.as<E>() + matrix * inner * columns;
      for (std::int64_t m = 0; m < rows; ++m) {
        for (std::int64_t n = 0; n < columns; ++n) {
          double sum = 0;
          for (std::int64_t k = 0; k < inner; ++k) {
            sum += factor(a[args.transpose_a ? k * rows + m : m * inner + k]) *
                   factor(b[args.transpose_b ? n * inner + k : k * columns + n]);
          }
          const std::int64_t at = (matrix * rows + m) * columns + n;
          double value = args.alpha * sum;
          if (args.beta != 0) value += args.beta * load<double>(args.out, at);
          store(args.out, at, static_cast<T>(value));
        }
      }
    }
  });
}

}  // namespace hadal::ops::reference
