#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "testing/compare.h"
#include "testing/op_runner.h"

namespace hadal::testing {

/// A weight in one of the official layouts, with the values it stands for.
struct WeightCase {
  std::string name;
  DType type;
  Shape shape;                      // of the codes
  std::vector<double> values;       // [rows, columns] dequantised, in double
  std::vector<std::uint8_t> codes;  // FP8 and FP4
  DType scale_type = DType::kE8m0;
  Shape scale_shape;
  std::vector<double> scales;  // e8m0: the byte

  [[nodiscard]] ops::Weight make(OpRunner& runner) const {
    if (codes.empty()) return runner.weight(type, shape, values);
    return runner.coded(type, shape, codes, scale_type, scale_shape, scales);
  }
};

[[nodiscard]] inline WeightCase plain_weight(RandomValues& random, DType type, std::int64_t rows,
                                             std::int64_t columns) {
  return {.name = std::string(name(type)),
          .type = type,
          .shape = {rows, columns},
          .values = random.normal(rows * columns, type),
          .codes = {},
          .scale_shape = {},
          .scales = {}};
}

/// FP8 with scales 2^-9..2^-4, or f32 scales that are no powers of two.
[[nodiscard]] inline WeightCase fp8_weight(RandomValues& random, DType scale_type, std::int64_t rows,
                                           std::int64_t columns) {
  const Shape tiles{(rows + 127) / 128, (columns + 127) / 128};
  WeightCase weight{.name = "fp8 with scales " + std::string(name(scale_type)),
                    .type = DType::kE4m3,
                    .shape = {rows, columns},
                    .values = {},
                    .codes = {},
                    .scale_type = scale_type,
                    .scale_shape = tiles,
                    .scales = {}};
  std::vector<double> scale_values;
  for (std::int64_t i = 0; i < tiles.elements(); ++i) {
    const std::int64_t byte = random.integer(118, 123);
    const double factor = scale_type == DType::kE8m0 ? 1 : 1 + static_cast<double>(random.integer(1, 99)) / 128;
    scale_values.push_back(std::ldexp(factor, static_cast<int>(byte - 127)));
    weight.scales.push_back(scale_type == DType::kE8m0 ? static_cast<double>(byte) : scale_values.back());
  }
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t k = 0; k < columns; ++k) {
      auto code = static_cast<std::uint8_t>(random.integer(0, 255));
      if ((code & 0x7FU) == 0x7FU) code = 0x7E;  // NaN codes are no weights
      weight.codes.push_back(code);
      const double scale = scale_values[static_cast<std::size_t>(row / 128 * tiles[1] + k / 128)];
      weight.values.push_back(static_cast<double>(e4m3_to_f32(code)) * scale);
    }
  }
  return weight;
}

/// FP4 with scales 2^-9..2^0, so that a swapped nibble or a wrong block shows.
[[nodiscard]] inline WeightCase fp4_weight(RandomValues& random, std::int64_t rows, std::int64_t columns) {
  WeightCase weight{.name = "fp4",
                    .type = DType::kE2m1x2,
                    .shape = {rows, columns / 2},
                    .values = {},
                    .codes = {},
                    .scale_shape = {rows, columns / 32},
                    .scales = {}};
  for (std::int64_t i = 0; i < rows * columns / 32; ++i) {
    weight.scales.push_back(static_cast<double>(random.integer(118, 127)));
  }
  for (std::int64_t i = 0; i < rows * columns / 2; ++i) {
    const auto pair = static_cast<std::uint8_t>(random.integer(0, 255));
    const double scale = std::ldexp(1.0, static_cast<int>(weight.scales[static_cast<std::size_t>(i / 16)]) - 127);
    weight.codes.push_back(pair);
    weight.values.push_back(scale * static_cast<double>(e2m1_to_f32(pair & 15U)));
    weight.values.push_back(scale * static_cast<double>(e2m1_to_f32(static_cast<std::uint8_t>(pair >> 4))));
  }
  return weight;
}

/// The formats that take any number of columns.
[[nodiscard]] inline std::vector<WeightCase> odd_weight_cases(RandomValues& random, std::int64_t rows,
                                                              std::int64_t columns) {
  return {plain_weight(random, DType::kF32, rows, columns), plain_weight(random, DType::kBf16, rows, columns),
          fp8_weight(random, DType::kE8m0, rows, columns), fp8_weight(random, DType::kF32, rows, columns)};
}

/// Every format; columns is a multiple of 32.
[[nodiscard]] inline std::vector<WeightCase> weight_cases(RandomValues& random, std::int64_t rows,
                                                          std::int64_t columns) {
  std::vector<WeightCase> cases = odd_weight_cases(random, rows, columns);
  cases.push_back(fp4_weight(random, rows, columns));
  return cases;
}

}  // namespace hadal::testing
