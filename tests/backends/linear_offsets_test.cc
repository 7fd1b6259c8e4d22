#include <gtest/gtest.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "backends/test_matrix.h"
#include "testing/sparse_memory.h"

namespace hadal::cpu::testing {
namespace {

class LinearOffsets : public ::testing::TestWithParam<const KernelTable*> {};

INSTANTIATE_TEST_SUITE_P(All, LinearOffsets, ::testing::ValuesIn(tables()),
                         [](const auto& param_info) { return std::string(param_info.param->isa); });

/// Weight rows and input rows that lie gigabytes apart give the bits of dense ones.
TEST_P(LinearOffsets, RowsBeyondFourGigabytesAreTheSame) {
  constexpr std::int64_t kOutputs = 4;
  constexpr std::int64_t kInputs = 256;
  constexpr std::int64_t kRows = 3;
  constexpr std::int64_t kPitch = (std::int64_t{1} << 31) + 64;  // bytes
  const KernelTable& table = *GetParam();
  const Scratch scratch(table.scratch_bytes(kInputs));
  const hadal::testing::SparseMemory far_codes(kOutputs * kPitch);
  const hadal::testing::SparseMemory far_rows(kRows * kPitch);
  for (const WeightFormat format : kFormats) {
    const TestMatrix matrix(format, kOutputs, kInputs, 3);
    const MatrixRef dense = matrix.ref();
    MatrixRef spread = dense;
    spread.row_bytes = kPitch;
    const auto* const codes = static_cast<const std::byte*>(dense.codes);
    for (std::int64_t n = 0; n < kOutputs; ++n) {
      std::memcpy(far_codes.data() + n * kPitch, codes + n * dense.row_bytes,
                  static_cast<std::size_t>(dense.row_bytes));
    }
    spread.codes = far_codes.data();
    const TestRows x(kRows, kInputs, kInputs, 4);
    const auto compare = [&]<class T>(auto multiply, const std::vector<T>& rows) {
      std::vector<float> expected(kRows * kOutputs);
      std::vector<float> got(kRows * kOutputs);
      multiply(rows.data(), kInputs, kRows, dense, 0, kOutputs, expected.data(), kOutputs, scratch.data());
      for (std::int64_t row = 0; row < kRows; ++row) {
        std::memcpy(far_rows.data() + row * kPitch, rows.data() + row * kInputs, kInputs * sizeof(T));
      }
      multiply(static_cast<const T*>(static_cast<const void*>(far_rows.data())), kPitch / std::int64_t{sizeof(T)},
               kRows, spread, 0, kOutputs, got.data(), kOutputs, scratch.data());
      for (std::size_t i = 0; i < got.size(); ++i) {
        EXPECT_EQ(std::bit_cast<std::uint32_t>(got[i]), std::bit_cast<std::uint32_t>(expected[i])) << name(format);
      }
    };
    compare(table.multiply_f32, x.f32);
    compare(table.multiply_bf16, x.narrow);
  }
}

}  // namespace
}  // namespace hadal::cpu::testing
