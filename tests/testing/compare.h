#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <random>
#include <span>
#include <vector>

#include "tensor/dtype.h"
#include "tensor/scalar.h"

namespace hadal::testing {

/// Every value within absolute + relative * |expected|; NaN only where NaN is expected, infinities equal.
inline void expect_near(std::span<const double> actual, std::span<const double> expected, double absolute,
                        double relative) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    if (std::isnan(expected[i]) || std::isinf(expected[i])) {
      ASSERT_TRUE(actual[i] == expected[i] || (std::isnan(actual[i]) && std::isnan(expected[i])))
          << "element " << i << ": " << actual[i] << " instead of " << expected[i];
      continue;
    }
    ASSERT_LE(std::abs(actual[i] - expected[i]), absolute + relative * std::abs(expected[i]))
        << "element " << i << ": " << actual[i] << " instead of " << expected[i];
  }
}

/// Equal values and signs; NaN equals NaN.
inline void expect_same(std::span<const double> actual, std::span<const double> expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    if (std::isnan(expected[i]) && std::isnan(actual[i])) continue;
    ASSERT_TRUE(actual[i] == expected[i] && std::signbit(actual[i]) == std::signbit(expected[i]))
        << "element " << i << ": " << actual[i] << " instead of " << expected[i];
  }
}

/// Every value within `tolerance` times the rms of its row of `columns` expected values.
inline void expect_near_rms(std::span<const double> actual, std::span<const double> expected, std::size_t columns,
                            double tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t begin = 0; begin < actual.size(); begin += columns) {
    double squares = 0;
    for (std::size_t i = begin; i < begin + columns; ++i) squares += expected[i] * expected[i];
    expect_near(actual.subspan(begin, columns), expected.subspan(begin, columns),
                tolerance * std::sqrt(squares / static_cast<double>(columns)), 0);
  }
}

/// Golden values are float32, made in float64: an f64 result differs by that rounding alone, an f32 result by rule 1
/// of the golden data (1e-6 + 2e-6 |golden|).
inline void expect_golden(std::span<const double> actual, std::span<const double> golden, DType type) {
  if (type == DType::kF64) {
    expect_near(actual, golden, 1e-12, 0x1.001p-24);
  } else {
    expect_near(actual, golden, 1e-6, 2e-6);
  }
}

/// Rule 1 for the Hadamard transform and the mHC vectors: 3e-6 of the row's rms in f32.
inline void expect_golden_rows(std::span<const double> actual, std::span<const double> golden, std::size_t columns,
                               DType type) {
  if (type == DType::kF64) {
    expect_near(actual, golden, 1e-12, 0x1.001p-24);
  } else {
    expect_near_rms(actual, golden, columns, 3e-6);
  }
}

/// The value that a tensor of that type holds.
[[nodiscard]] inline double as_stored(DType type, double value) {
  if (type == DType::kBf16) return static_cast<double>(to_f32(to_bf16(round_to_odd(value))));
  return type == DType::kF32 ? static_cast<double>(static_cast<float>(value)) : value;
}

/// Half the distance of 1 to the next number of the type, relative: one rounding.
[[nodiscard]] inline double epsilon(DType type) {
  return type == DType::kF64 ? 0x1p-53 : type == DType::kBf16 ? 0x1p-9 : 0x1p-24;
}

/// Normally distributed values as a tensor of `type` holds them, from a fixed seed.
class RandomValues {
 public:
  explicit RandomValues(std::uint64_t seed) : engine_(seed) {}

  [[nodiscard]] std::vector<double> normal(std::int64_t count, DType type, double deviation = 1) {
    std::normal_distribution<double> distribution(0, deviation);
    std::vector<double> values;
    values.reserve(static_cast<std::size_t>(count));
    for (std::int64_t i = 0; i < count; ++i) values.push_back(as_stored(type, distribution(engine_)));
    return values;
  }
  /// An integer in [low, high].
  [[nodiscard]] std::int64_t integer(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(engine_);
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace hadal::testing
