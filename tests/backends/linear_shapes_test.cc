#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <string>
#include <vector>

#include "backends/test_matrix.h"

namespace hadal::cpu::testing {
namespace {

/// A product of Flash with its true shape.
struct FlashProduct {
  const char* name;
  WeightFormat format;
  bool narrow;  // bf16 inputs; else f32
  std::int64_t n;
  std::int64_t k;
  std::int64_t groups = 1;  // group g: outputs [g n / groups, ...) of inputs [g k, (g + 1) k)
};

constexpr FlashProduct kProducts[] = {
    {"wq_a", WeightFormat::kE4m3E8m0, true, 1024, 4096},
    {"wq_b", WeightFormat::kE4m3E8m0, true, 32768, 1024},
    {"wkv", WeightFormat::kE4m3E8m0, true, 512, 4096},
    {"wo_a", WeightFormat::kE4m3E8m0, true, 8192, 4096, 8},
    {"wo_b", WeightFormat::kE4m3E8m0, true, 4096, 8192},
    {"expert_w1_w3", WeightFormat::kE2m1E8m0, true, 2048, 4096},
    {"expert_w2", WeightFormat::kE2m1E8m0, true, 4096, 2048},
    {"base_w1_w3", WeightFormat::kE4m3F32, true, 2048, 4096},
    {"base_w2", WeightFormat::kE4m3F32, true, 4096, 2048},
    {"shared_w1_w3", WeightFormat::kE4m3E8m0, true, 2048, 4096},
    {"head", WeightFormat::kBf16, true, 129280, 4096},
    {"gate", WeightFormat::kBf16, false, 256, 4096},
    {"compressor4", WeightFormat::kBf16, false, 1024, 4096},
    {"compressor128", WeightFormat::kBf16, false, 512, 4096},
    {"indexer_compressor", WeightFormat::kBf16, false, 256, 4096},
    {"indexer_wq_b", WeightFormat::kE4m3E8m0, true, 8192, 1024},
    {"indexer_weights", WeightFormat::kBf16, true, 64, 4096},
    {"hc_fn", WeightFormat::kF32, false, 24, 16384},
    {"exact_wq_b", WeightFormat::kE4m3E8m0, false, 32768, 1024},
    {"exact_wo_b", WeightFormat::kE4m3E8m0, false, 4096, 8192},
    {"exact_w1_w3", WeightFormat::kE2m1E8m0, false, 2048, 4096},
    {"exact_base", WeightFormat::kE4m3F32, false, 2048, 4096},
    {"exact_head", WeightFormat::kBf16, false, 1024, 4096},
};

class FlashShapes : public ::testing::TestWithParam<std::tuple<const KernelTable*, FlashProduct>> {};

INSTANTIATE_TEST_SUITE_P(All, FlashShapes,
                         ::testing::Combine(::testing::ValuesIn(tables()), ::testing::ValuesIn(kProducts)),
                         [](const auto& param_info) {
                           return std::string(std::get<0>(param_info.param)->isa) + "_" +
                                  std::get<1>(param_info.param).name;
                         });

/// One product with any rows, over all its groups.
class Product {
 public:
  Product(const KernelTable& table, const FlashProduct& product, std::int64_t outputs, std::int64_t most_rows)
      : table_(table),
        product_(product),
        outputs_(outputs),
        matrix_(product.format, outputs, product.k, 1),
        x_(most_rows, product.k * product.groups, product.k * product.groups, 2),
        scratch_(table.scratch_bytes(product.k)) {}

  /// Rows [first, first + rows) to y [rows, outputs].
  void multiply(std::int64_t first, std::int64_t rows, float* y) const {
    const std::int64_t group_outputs = outputs_ / product_.groups;
    const MatrixRef w = matrix_.ref();
    for (std::int64_t group = 0; group < product_.groups; ++group) {
      const std::int64_t at = first * x_.stride + group * product_.k;
      const std::int64_t begin = group * group_outputs;
      if (product_.narrow) {
        table_.multiply_bf16(x_.narrow.data() + at, x_.stride, rows, w, begin, begin + group_outputs, y, outputs_,
                             scratch_.data());
      } else {
        table_.multiply_f32(x_.f32.data() + at, x_.stride, rows, w, begin, begin + group_outputs, y, outputs_,
                            scratch_.data());
      }
    }
  }

 private:
  const KernelTable& table_;
  const FlashProduct& product_;
  std::int64_t outputs_;
  TestMatrix matrix_;
  TestRows x_;
  Scratch scratch_;
};

/// 0 differing bits over 1..64 and 512 rows, each row against the product with this row alone.
TEST_P(FlashShapes, RowCountNeverChangesABit) {
  const KernelTable& table = *std::get<0>(GetParam());
  const FlashProduct& product = std::get<1>(GetParam());
  constexpr std::int64_t kMost = 512;
  // All outputs, but for the slow set: there those on both sides of two 128 borders, in each group.
  const bool generic = std::string_view(table.isa) == "generic";
  const std::int64_t outputs = generic ? std::min<std::int64_t>(product.n, 256 * product.groups + 8) : product.n;
  const Product multiplied(table, product, outputs, kMost);
  std::vector<float> single(static_cast<std::size_t>(kMost * outputs));
  for (std::int64_t m = 0; m < kMost; ++m) multiplied.multiply(m, 1, single.data() + m * outputs);
  EXPECT_NE(single.front(), 0.0F);
  std::vector<float> together(single.size());
  std::int64_t differing = 0;
  for (std::int64_t rows = 1; rows <= kMost; rows = rows == 64 ? kMost : rows + 1) {
    multiplied.multiply(0, rows, together.data());
    for (std::size_t i = 0; i < static_cast<std::size_t>(rows * outputs); ++i) {
      differing += std::bit_cast<std::uint32_t>(together[i]) != std::bit_cast<std::uint32_t>(single[i]) ? 1 : 0;
    }
  }
  EXPECT_EQ(differing, 0);
}

}  // namespace
}  // namespace hadal::cpu::testing
