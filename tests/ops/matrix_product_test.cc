#include "ops/matrix_product.h"

#include <cmath>
#include <limits>

#include "ops/backend_cases.h"
#include "testing/compare.h"

namespace hadal::ops {
namespace {

using testing::OpRunner;

HADAL_BACKEND_SUITE(MatrixProductTest);

DType sum_type(DType type) { return type == DType::kF64 ? DType::kF64 : DType::kF32; }
std::size_t at(std::int64_t index) { return static_cast<std::size_t>(index); }

struct Extents {
  std::int64_t batch, m, n, k;
};

/// Factors how a call wants them: their values, the transposed flags and the scales.
struct Call {
  Extents extents;
  bool transpose_a, transpose_b, narrow;
  double alpha, beta;

  /// alpha * op(a) . op(b) + beta * out in double, within the error of a sum of k products.
  void check(OpRunner& runner, testing::RandomValues& random, DType type) const {
    const auto& [batch, m, n, k] = extents;
    SCOPED_TRACE(to_string(Shape{batch, m, n, k}) + (transpose_a ? " a^T" : "") + (transpose_b ? " b^T" : ""));
    const std::vector<double> a = random.normal(batch * m * k, type);
    const std::vector<double> b = random.normal(batch * k * n, type);
    const std::vector<double> before = random.normal(batch * m * n, sum_type(type));
    const auto shape = [&](std::int64_t rows, std::int64_t columns) {
      return batch == 1 ? Shape{rows, columns} : Shape{batch, rows, columns};
    };
    const TensorView out = runner.tensor(sum_type(type), shape(m, n), before);
    runner.run(matrix_product, {.a = runner.tensor(type, transpose_a ? shape(k, m) : shape(m, k), a),
                                .b = runner.tensor(type, transpose_b ? shape(n, k) : shape(k, n), b),
                                .out = out,
                                .transpose_a = transpose_a,
                                .transpose_b = transpose_b,
                                .alpha = alpha,
                                .beta = beta,
                                .bf16 = narrow});
    const std::vector<double> actual = runner.values(out);
    const auto factor = [&](double value) { return narrow ? testing::as_stored(DType::kBf16, value) : value; };
    for (std::int64_t i = 0; i < batch * m * n; ++i) {
      const std::int64_t matrix = i / (m * n), row = i / n % m, column = i % n;
      double sum = 0;
      double magnitude = std::abs(beta * before[at(i)]);
      for (std::int64_t j = 0; j < k; ++j) {
        const double product = factor(a[at(matrix * m * k + (transpose_a ? j * m + row : row * k + j))]) *
                               factor(b[at(matrix * k * n + (transpose_b ? column * k + j : j * n + column))]);
        sum += product;
        magnitude += std::abs(alpha * product);
      }
      const double eps = static_cast<double>(k + 6) * testing::epsilon(sum_type(type));
      ASSERT_LE(std::abs(actual[at(i)] - (alpha * sum + beta * before[at(i)])), eps * magnitude) << "element " << i;
    }
  }
};

TEST_P(MatrixProductTest, EveryTransposeTypeAndScale) {
  testing::RandomValues random(331);
  for (const DType type : product_types()) {
    for (const Extents& extents : {Extents{1, 1, 1, 1}, Extents{1, 33, 17, 65}, Extents{3, 16, 24, 40},
                                   Extents{2, 5, 70, 3}, Extents{1, 64, 64, 128}, Extents{1, 31, 100, 31}}) {
      for (const bool transpose_a : {false, true}) {
        for (const bool transpose_b : {false, true}) {
          for (const bool narrow : {false, true}) {
            Call call{.extents = extents,
                      .transpose_a = transpose_a,
                      .transpose_b = transpose_b,
                      .narrow = narrow,
                      .alpha = 1,
                      .beta = 0};
            call.check(runner_, random, type);
            call.alpha = -0.75;
            call.beta = 1.5;
            call.check(runner_, random, type);
          }
        }
      }
    }
  }
}

TEST_P(MatrixProductTest, LongSums) {
  testing::RandomValues random(332);
  for (const DType type : product_types()) {
    for (const std::int64_t inner : {1023, 2048, 2600}) {
      for (const bool transpose : {false, true}) {
        const Call call{.extents = {1, 9, 20, inner},
                        .transpose_a = transpose,
                        .transpose_b = !transpose,
                        .narrow = false,
                        .alpha = 1,
                        .beta = 1};
        call.check(runner_, random, type);
      }
    }
  }
}

TEST_P(MatrixProductTest, MultipliesAMatrixWithItselfAndIgnoresWhatBetaZeroOverwrites) {
  testing::RandomValues random(333);
  for (const DType type : product_types()) {
    const std::vector<double> values = random.normal(20 * 30, type);
    const TensorView x = runner_.tensor(type, {20, 30}, values);
    const TensorView square = runner_.empty(sum_type(type), {20, 20});  // NaN
    runner_.run(matrix_product, {.a = x, .b = x, .out = square, .transpose_b = true});
    const std::vector<double> actual = runner_.values(square);
    for (std::int64_t i = 0; i < 20; ++i) {
      for (std::int64_t j = 0; j < 20; ++j) {
        double sum = 0;
        for (std::int64_t k = 0; k < 30; ++k) sum += values[at(i * 30 + k)] * values[at(j * 30 + k)];
        ASSERT_NEAR(actual[at(i * 20 + j)], sum, 2e-5);
      }
    }
  }
}

TEST_P(MatrixProductTest, BitsOfAMatrixDoNotDependOnTheBatch) {
  testing::RandomValues random(334);
  for (const DType type : product_types()) {
    const std::vector<double> a = random.normal(4 * 40 * 48, type);
    const std::vector<double> b = random.normal(4 * 48 * 56, type);
    const TensorView left = runner_.tensor(type, {4, 40, 48}, a);
    const TensorView right = runner_.tensor(type, {4, 48, 56}, b);
    const TensorView all = runner_.empty(sum_type(type), {4, 40, 56});
    runner_.run(matrix_product, {.a = left, .b = right, .out = all});
    const std::vector<double> together = runner_.values(all);
    for (std::int64_t i = 0; i < 4; ++i) {
      const TensorView one = runner_.empty(sum_type(type), {40, 56});
      runner_.run(matrix_product,
                  {.a = left.rows(i, 1).reshaped({40, 48}), .b = right.rows(i, 1).reshaped({48, 56}), .out = one});
      testing::expect_same(runner_.values(one), std::span(together).subspan(at(i * 40 * 56), 40 * 56));
    }
  }
}

}  // namespace
}  // namespace hadal::ops
