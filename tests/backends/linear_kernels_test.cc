#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <tuple>
#include <vector>

#include "backends/test_matrix.h"

namespace hadal::cpu::testing {
namespace {

constexpr std::uint64_t kSeed = 20260424;
constexpr float kUntouched = -12345.0F;

/// Runs one product; y is [rows, y_stride], outputs outside [n_begin, n_end) keep kUntouched.
std::vector<float> multiply(const KernelTable& table, bool narrow, const TestRows& x, std::int64_t rows,
                            const MatrixRef& w, std::int64_t n_begin, std::int64_t n_end, std::int64_t y_stride) {
  std::vector<float> y(static_cast<std::size_t>(rows * y_stride), kUntouched);
  const Scratch scratch(table.scratch_bytes(w.k));
  if (narrow) {
    table.multiply_bf16(x.narrow.data(), x.stride, rows, w, n_begin, n_end, y.data(), y_stride, scratch.data());
  } else {
    table.multiply_f32(x.f32.data(), x.stride, rows, w, n_begin, n_end, y.data(), y_stride, scratch.data());
  }
  return y;
}

std::uint32_t bits(float value) { return std::bit_cast<std::uint32_t>(value); }

/// (instruction set, format, bf16 activations?)
using Case = std::tuple<const KernelTable*, WeightFormat, bool>;

class LinearKernels : public ::testing::TestWithParam<Case> {
 protected:
  [[nodiscard]] const KernelTable& table() const { return *std::get<0>(GetParam()); }
  [[nodiscard]] WeightFormat format() const { return std::get<1>(GetParam()); }
  [[nodiscard]] bool narrow() const { return std::get<2>(GetParam()); }
  [[nodiscard]] bool any_k() const { return format() != WeightFormat::kE2m1E8m0; }
};

std::string case_name(const ::testing::TestParamInfo<Case>& info) {
  std::string text = std::string(std::get<0>(info.param)->isa) + "_" + name(std::get<1>(info.param)) +
                     (std::get<2>(info.param) ? "_bf16" : "_f32");
  for (char& c : text) c = c == '/' ? '_' : c;
  return text;
}

INSTANTIATE_TEST_SUITE_P(All, LinearKernels,
                         ::testing::Combine(::testing::ValuesIn(tables()), ::testing::ValuesIn(kFormats),
                                            ::testing::Bool()),
                         case_name);

class CodedKernels : public LinearKernels {};
INSTANTIATE_TEST_SUITE_P(All, CodedKernels,
                         ::testing::Combine(::testing::ValuesIn(tables()),
                                            ::testing::Values(WeightFormat::kE4m3E8m0, WeightFormat::kE4m3F32,
                                                              WeightFormat::kE2m1E8m0),
                                            ::testing::Bool()),
                         case_name);

class PowerOfTwoKernels : public LinearKernels {};
INSTANTIATE_TEST_SUITE_P(All, PowerOfTwoKernels,
                         ::testing::Combine(::testing::ValuesIn(tables()),
                                            ::testing::Values(WeightFormat::kE4m3E8m0, WeightFormat::kE2m1E8m0),
                                            ::testing::Bool()),
                         case_name);

TEST_P(LinearKernels, AgreesWithDouble) {
  std::vector<std::int64_t> widths = {32, 96, 128, 160, 256, 416};
  if (any_k()) widths.insert(widths.end(), {1, 15, 24, 33, 127, 131});
  for (const std::int64_t k : widths) {
    for (const std::int64_t n : {1, 3, 8, 13, 131, 260}) {
      const TestMatrix w(format(), n, k, kSeed + static_cast<std::uint64_t>(n * k), n % 3);
      const TestRows x(17, k, k + 5, kSeed + static_cast<std::uint64_t>(k));
      std::vector<double> sums, magnitudes;  // [17, n]
      for (std::int64_t m = 0; m < 17; ++m) {
        for (std::int64_t i = 0; i < n; ++i) {
          double sum = 0.0;
          double magnitude = 0.0;
          for (std::int64_t j = 0; j < k; ++j) {
            const double product = static_cast<double>(x.at(m, j)) * w.value(i, j);
            sum += product;
            magnitude += std::abs(product);
          }
          sums.push_back(sum);
          magnitudes.push_back(magnitude);
        }
      }
      for (const std::int64_t rows : {0, 1, 2, 3, 4, 5, 7, 13, 17}) {
        const std::vector<float> y = multiply(table(), narrow(), x, rows, w.ref(), 0, n, n + 2);
        for (std::int64_t m = 0; m < rows; ++m) {
          for (std::int64_t i = 0; i < n; ++i) {
            const auto at = static_cast<std::size_t>(m * n + i);
            // At most k / 4 + 8 roundings lie between a product and the result, two more for products and block scales.
            const double bound = static_cast<double>(k / 4 + 10) * 0x1p-24 * magnitudes[at];
            ASSERT_NEAR(y[static_cast<std::size_t>(m * (n + 2) + i)], sums[at], bound)
                << "k " << k << " n " << n << " rows " << rows << " m " << m << " output " << i;
          }
          ASSERT_EQ(y[static_cast<std::size_t>(m * (n + 2) + n)], kUntouched);
        }
      }
    }
  }
}

TEST_P(LinearKernels, RowCountAndRangesNeverChangeABit) {
  const std::int64_t n = 150;
  for (const std::int64_t k : {any_k() ? 424 : 416, 1024}) {
    const TestMatrix w(format(), n, k, kSeed);
    const TestRows x(64, k, k, kSeed + 1);
    std::vector<float> single;
    for (std::int64_t m = 0; m < 64; ++m) {
      const TestRows& all = x;
      TestRows one(1, k, k, 0);
      for (std::int64_t j = 0; j < k; ++j) {
        one.f32[static_cast<std::size_t>(j)] = all.at(m, j);
        one.narrow[static_cast<std::size_t>(j)] = to_bf16(all.at(m, j));
      }
      const std::vector<float> y = multiply(table(), narrow(), one, 1, w.ref(), 0, n, n);
      single.insert(single.end(), y.begin(), y.end());
    }
    for (std::int64_t rows = 1; rows <= 64; ++rows) {
      const std::vector<float> y = multiply(table(), narrow(), x, rows, w.ref(), 0, n, n);
      for (std::size_t i = 0; i < y.size(); ++i) {
        ASSERT_EQ(bits(y[i]), bits(single[i])) << "k " << k << " rows " << rows << " element " << i;
      }
    }
    for (const std::int64_t rows : {1, 3, 6, 9}) {
      for (std::int64_t cut = 0; cut <= n; cut += cut < 10 || cut > 120 ? 1 : 7) {
        const std::vector<float> left = multiply(table(), narrow(), x, rows, w.ref(), 0, cut, n);
        const std::vector<float> right = multiply(table(), narrow(), x, rows, w.ref(), cut, n, n);
        for (std::int64_t i = 0; i < rows * n; ++i) {
          const auto at = static_cast<std::size_t>(i);
          const bool is_left = i % n < cut;
          ASSERT_EQ(bits((is_left ? left : right)[at]), bits(single[at])) << "rows " << rows << " cut " << cut;
          ASSERT_EQ((is_left ? right : left)[at], kUntouched) << "rows " << rows << " cut " << cut;
        }
      }
    }
  }
}

TEST_P(LinearKernels, NaNAndInfinityStayInTheirRow) {
  const std::int64_t n = 9;
  const std::int64_t k = 160;
  const TestMatrix w(format(), n, k, kSeed);
  for (const std::int64_t rows : {2, 4, 7}) {
    TestRows x(rows, k, k, kSeed);
    const std::vector<float> clean = multiply(table(), narrow(), x, rows, w.ref(), 0, n, n);
    const std::int64_t bad = rows - 2;
    for (std::int64_t j = 0; j < k; ++j) {
      const float value = j % 2 == 0 ? std::numeric_limits<float>::quiet_NaN() : std::numeric_limits<float>::infinity();
      x.f32[static_cast<std::size_t>(bad * k + j)] = value;
      x.narrow[static_cast<std::size_t>(bad * k + j)] = to_bf16(value);
    }
    const std::vector<float> y = multiply(table(), narrow(), x, rows, w.ref(), 0, n, n);
    for (std::int64_t m = 0; m < rows; ++m) {
      for (std::int64_t i = 0; i < n; ++i) {
        const auto at = static_cast<std::size_t>(m * n + i);
        if (m == bad) {
          EXPECT_TRUE(std::isnan(y[at]));
        } else {
          EXPECT_EQ(bits(y[at]), bits(clean[at])) << "row " << m;
        }
      }
    }
  }
}

/// One weight alone: x is 1 at one column and 0 elsewhere, so the result is the decoded weight itself.
TEST_P(PowerOfTwoKernels, EveryCodeAndScaleIsExact) {
  const bool fp8 = format() == WeightFormat::kE4m3E8m0;
  const std::int64_t codes = fp8 ? 256 : 16;
  const std::int64_t k = 160;
  // bf16 weights of the widest format are normal numbers for scales 2^-117 .. 2^119, far beyond what is asked.
  for (int scale = 127 - 60; scale <= 127 + 20; ++scale) {
    TestMatrix w(format(), codes, k, kSeed);
    w.set_all_scales(static_cast<std::uint8_t>(scale));
    for (std::int64_t code = 0; code < codes; ++code) {
      for (std::int64_t j = 0; j < k; ++j) {
        const auto value = static_cast<std::uint8_t>((code + j) % codes);
        if (fp8) {
          w.row(code)[j] = (value & 0x7F) == 0x7F ? 0 : value;
        } else {
          std::uint8_t& byte = w.row(code)[j / 2];
          byte = static_cast<std::uint8_t>(j % 2 == 0 ? (byte & 0xF0) | value : (byte & 0x0F) | (value << 4));
        }
      }
    }
    for (const std::int64_t rows : {1, 6}) {
      TestRows x(rows, k, k, kSeed);
      const std::int64_t column = (scale * 37) % k;
      for (std::int64_t m = 0; m < rows; ++m) {
        for (std::int64_t j = 0; j < k; ++j) {
          const float value = j == column ? 1.0F : 0.0F;
          x.f32[static_cast<std::size_t>(m * k + j)] = value;
          x.narrow[static_cast<std::size_t>(m * k + j)] = to_bf16(value);
        }
      }
      const std::vector<float> y = multiply(table(), narrow(), x, rows, w.ref(), 0, codes, codes);
      for (std::int64_t i = 0; i < rows * codes; ++i) {
        ASSERT_EQ(static_cast<double>(y[static_cast<std::size_t>(i)]), w.value(i % codes, column))
            << "scale byte " << scale << " code row " << i % codes << " column " << column;
      }
    }
  }
}

TEST_P(CodedKernels, NaNCodesAndScalesShow) {
  const std::int64_t n = 6;
  const std::int64_t k = 160;
  for (const std::int64_t rows : {1, 3, 6}) {
    const TestRows x(rows, k, k, kSeed);
    TestMatrix w(format(), n, k, kSeed);
    std::vector<float> y;
    if (format() == WeightFormat::kE2m1E8m0) {
      w.set_all_scales(255);
      y = multiply(table(), narrow(), x, rows, w.ref(), 0, n, n);
      for (const float value : y) EXPECT_TRUE(std::isnan(value));
      continue;
    }
    w.row(2)[150] = 0x7F;
    w.row(4)[3] = 0xFF;
    y = multiply(table(), narrow(), x, rows, w.ref(), 0, n, n);
    for (std::int64_t i = 0; i < rows * n; ++i) {
      EXPECT_EQ(std::isnan(y[static_cast<std::size_t>(i)]), i % n == 2 || i % n == 4) << i;
    }
  }
}

/// Below bf16's normal range the avx512 table gives zero, as documented; f32 weights keep the value.
TEST_P(PowerOfTwoKernels, TinyScalesAreZeroOrExact) {
  const std::int64_t k = 128;
  TestMatrix w(format(), 4, k, kSeed);
  w.set_all_scales(0);
  TestRows x(1, k, k, kSeed);
  const float large = 0x1p100F;
  for (std::size_t j = 0; j < static_cast<std::size_t>(k); ++j) {
    x.f32[j] = j == 5 ? large : 0.0F;
    x.narrow[j] = to_bf16(x.f32[j]);
  }
  const std::vector<float> y = multiply(table(), narrow(), x, 1, w.ref(), 0, 4, 4);
  for (std::int64_t i = 0; i < 4; ++i) {
    const double weight = w.value(i, 5);
    const bool flushed = narrow() && std::string_view(table().isa) == "avx512" && std::abs(weight) < 0x1p-126;
    EXPECT_EQ(static_cast<double>(y[static_cast<std::size_t>(i)]), flushed ? 0.0 : weight * 0x1p100) << i;
  }
}

TEST(KernelTables, AreFoundByName) {
  const auto generic = kernel_table("generic");
  ASSERT_TRUE(generic.has_value());
  EXPECT_STREQ((*generic)->isa, "generic");
  const auto unknown = kernel_table("sse9");
  ASSERT_FALSE(unknown.has_value());
  EXPECT_EQ(unknown.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(unknown.error().message, "unknown instruction set 'sse9'; known are generic, avx2, avx512, neon");
#if defined(__x86_64__)
  const auto neon = kernel_table("neon");
  ASSERT_FALSE(neon.has_value());
  EXPECT_EQ(neon.error().code, ErrorCode::kUnsupported);
#endif
}

TEST(KernelTables, TheChosenOneIsTheBestOrTheForcedOne) {
  const auto& chosen = kernels();
  const char* forced = std::getenv("HADAL_ISA");
  if (forced != nullptr) {
    const auto named = kernel_table(forced);
    ASSERT_EQ(chosen.has_value(), named.has_value());
    if (named) {
      EXPECT_EQ(*chosen, *named);
    }
  } else {
    ASSERT_TRUE(chosen.has_value());
    EXPECT_EQ(*chosen, tables().front());
  }
}

}  // namespace
}  // namespace hadal::cpu::testing
