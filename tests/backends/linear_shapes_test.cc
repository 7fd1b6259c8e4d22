#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <string>
#include <vector>

#include "backends/test_matrix.h"

namespace hadal::cpu::testing {
namespace {

/// A product of Flash: a matrix with its true number of inputs; of the outputs, those on both sides of two 128 borders.
struct FlashProduct {
  const char* name;
  WeightFormat format;
  bool narrow;
  std::int64_t n;
  std::int64_t k;
};
constexpr FlashProduct kProducts[] = {
    {"expert_gate", WeightFormat::kE2m1E8m0, true, 264, 4096},
    {"expert_down", WeightFormat::kE2m1E8m0, true, 264, 2048},
    {"wq_a", WeightFormat::kE4m3E8m0, true, 264, 4096},
    {"wq_b", WeightFormat::kE4m3E8m0, true, 264, 1024},
    {"wo_b", WeightFormat::kE4m3E8m0, true, 264, 8192},
    {"base_expert", WeightFormat::kE4m3F32, true, 264, 4096},
    {"head", WeightFormat::kBf16, true, 264, 4096},
    {"hc_fn", WeightFormat::kF32, false, 24, 16384},
    {"exact_expert", WeightFormat::kE2m1E8m0, false, 136, 4096},
    {"exact_wo_b", WeightFormat::kE4m3E8m0, false, 136, 8192},
    {"exact_base", WeightFormat::kE4m3F32, false, 136, 4096},
    {"exact_head", WeightFormat::kBf16, false, 136, 4096},
};

class FlashShapes : public ::testing::TestWithParam<std::tuple<const KernelTable*, FlashProduct>> {};

INSTANTIATE_TEST_SUITE_P(All, FlashShapes,
                         ::testing::Combine(::testing::ValuesIn(tables()), ::testing::ValuesIn(kProducts)),
                         [](const auto& param_info) {
                           return std::string(std::get<0>(param_info.param)->isa) + "_" +
                                  std::get<1>(param_info.param).name;
                         });

/// 0 differing bits over 1..64 and 512 rows, each row against the product with this row alone.
TEST_P(FlashShapes, RowCountNeverChangesABit) {
  const KernelTable& table = *std::get<0>(GetParam());
  const FlashProduct& product = std::get<1>(GetParam());
  constexpr std::int64_t kMost = 512;
  const TestMatrix matrix(product.format, product.n, product.k, 1);
  const MatrixRef w = matrix.ref();
  const TestRows x(kMost, product.k, product.k, 2);
  const Scratch scratch(table.scratch_bytes(product.k));
  const auto multiply = [&](std::int64_t first, std::int64_t rows, float* y) {
    const std::int64_t at = first * product.k;
    if (product.narrow) {
      table.multiply_bf16(x.narrow.data() + at, x.stride, rows, w, 0, product.n, y, product.n, scratch.data());
    } else {
      table.multiply_f32(x.f32.data() + at, x.stride, rows, w, 0, product.n, y, product.n, scratch.data());
    }
  };
  std::vector<float> single(static_cast<std::size_t>(kMost * product.n));
  for (std::int64_t m = 0; m < kMost; ++m) multiply(m, 1, single.data() + m * product.n);
  std::vector<float> together(single.size());
  std::int64_t differing = 0;
  for (std::int64_t rows = 1; rows <= kMost; rows = rows == 64 ? kMost : rows + 1) {
    multiply(0, rows, together.data());
    for (std::size_t i = 0; i < static_cast<std::size_t>(rows * product.n); ++i) {
      differing += std::bit_cast<std::uint32_t>(together[i]) != std::bit_cast<std::uint32_t>(single[i]) ? 1 : 0;
    }
  }
  EXPECT_EQ(differing, 0);
}

}  // namespace
}  // namespace hadal::cpu::testing
