// Every table of operator and block kernels that this processor can run, against the generic one: bits where the result
// of each element is defined (conversions, roundings, choices, single operations), a tolerance where the order of sums
// or the width of registers shows.

#include "backends/cpu/kernels/operator_kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/kernels/block_kernels.h"
#include "backends/cpu/kernels/kernels.h"

namespace hadal::cpu {
namespace {

using Values = std::vector<float>;

constexpr std::int64_t kLengths[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 130};
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

Values random_values(std::int64_t n, std::uint32_t seed, float deviation = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, deviation);
  Values values(static_cast<std::size_t>(n));
  for (float& value : values) value = normal(random);
  return values;
}

class OperatorTables : public ::testing::TestWithParam<std::string> {
 protected:
  const OperatorKernels& table_ = operator_kernels(GetParam());
  const OperatorKernels& generic_ = operator_kernels("generic");

  /// NaN equals NaN, whatever its bits.
  static bool same_bits(const Values& a, const Values& b) {
    for (std::size_t i = 0; i < a.size(); ++i) {
      if (std::isnan(a[i]) && std::isnan(b[i])) continue;
      if (std::bit_cast<std::uint32_t>(a[i]) != std::bit_cast<std::uint32_t>(b[i])) return false;
    }
    return a.size() == b.size();
  }
  static void expect_near(const Values& got, const Values& expected, float tolerance) {
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_NEAR(got[i], expected[i], tolerance * std::max(1.0F, std::abs(expected[i]))) << "element " << i;
    }
  }
  /// Outputs of n numbers of `run(table, out)` for both tables.
  std::pair<Values, Values> both(std::int64_t n, auto&& run) const {
    std::pair<Values, Values> out{Values(static_cast<std::size_t>(n), 7), Values(static_cast<std::size_t>(n), 7)};
    run(table_, out.first.data());
    run(generic_, out.second.data());
    return out;
  }
};

TEST_P(OperatorTables, AreItsOwn) {
  EXPECT_EQ(table_.isa, GetParam());
  EXPECT_EQ(block_kernels(GetParam()).isa, GetParam());
}

TEST_P(OperatorTables, ElementsAreTheSameBits) {
  for (const std::int64_t n : kLengths) {
    SCOPED_TRACE("length " + std::to_string(n));
    const Values a = random_values(n, 1);
    const Values b = random_values(n, 2);
    const auto check = [&](const char* name, auto&& run) {
      const auto [got, expected] = both(n + 1, run);  // one more: nothing is written behind the end
      EXPECT_TRUE(same_bits(got, expected)) << name;
      EXPECT_EQ(got.back(), 7) << name;
    };
    check("add", [&](const auto& table, float* out) { table.add(a.data(), b.data(), out, n); });
    check("multiply", [&](const auto& table, float* out) { table.multiply(a.data(), b.data(), out, n); });
    check("scale", [&](const auto& table, float* out) { table.scale(a.data(), 0.3F, out, n); });
    check("divide", [&](const auto& table, float* out) { table.divide(a.data(), 0.3F, out, n); });
    check("accumulate", [&](const auto& table, float* out) { table.accumulate(a.data(), out, n); });
  }
}

TEST_P(OperatorTables, Bf16IsRoundedTheSame) {
  Values in = {0.0F,
               -0.0F,
               1.0F,
               1.00390625F,
               1.01171875F,
               -1.00390625F,
               kInfinity,
               -kInfinity,
               kNan,
               3.39e38F,
               1e-40F,
               -1e-45F,
               std::bit_cast<float>(0x7F800001U),
               std::bit_cast<float>(0xFFFFFFFFU)};
  const Values more = random_values(150, 3, 100);
  in.insert(in.end(), more.begin(), more.end());
  for (const std::int64_t n : {static_cast<std::int64_t>(in.size()), std::int64_t{5}, std::int64_t{13}}) {
    std::vector<std::uint16_t> bits[2];
    Values wide[2];
    for (const int which : {0, 1}) {
      const OperatorKernels& table = which == 0 ? table_ : generic_;
      bits[which].assign(static_cast<std::size_t>(n) + 1, 0xABCD);
      table.narrow_bf16(in.data(), bits[which].data(), n);
      EXPECT_EQ(bits[which].back(), 0xABCD);
      wide[which].assign(static_cast<std::size_t>(n), 0);
      table.widen_bf16(bits[which].data(), wide[which].data(), n);
    }
    EXPECT_EQ(bits[0], bits[1]);
    EXPECT_TRUE(same_bits(wide[0], wide[1]));
  }
}

TEST_P(OperatorTables, Fp8AndFp4BlocksAreTheSameBits) {
  for (const float deviation : {1e-6F, 1.0F, 1e5F}) {
    const Values in = random_values(256, 4, deviation);
    for (const std::int64_t block : {32, 64, 128}) {
      const auto fp8 = both(256, [&](const auto& table, float* out) { table.round_fp8(in.data(), out, 256, block); });
      EXPECT_TRUE(same_bits(fp8.first, fp8.second)) << "fp8 " << block << ", deviation " << deviation;
      const auto fp4 = both(256, [&](const auto& table, float* out) { table.round_fp4(in.data(), out, 256, block); });
      EXPECT_TRUE(same_bits(fp4.first, fp4.second)) << "fp4 " << block << ", deviation " << deviation;
    }
  }
}

TEST_P(OperatorTables, ChoicesAreTheSame) {
  for (const std::int64_t n : {5, 16, 67, 300}) {
    Values in = random_values(n, 5);
    for (std::size_t i = 0; i < in.size(); i += 3) in[i] = std::round(in[i]);  // ties
    in[1] = kNan;
    in[2] = -kInfinity;
    EXPECT_EQ(table_.argmax(in.data(), n), generic_.argmax(in.data(), n));
    for (const std::int64_t k : {std::int64_t{1}, n / 2, n - 1}) {
      std::vector<std::int32_t> selected[2];
      for (const int which : {0, 1}) {
        Values scores = in;
        std::vector<std::uint32_t> scratch(static_cast<std::size_t>(n));
        selected[which].resize(static_cast<std::size_t>(k));
        (which == 0 ? table_ : generic_).select_top(scores.data(), n, k, selected[which].data(), scratch.data());
      }
      EXPECT_EQ(selected[0], selected[1]) << n << " choose " << k;
    }
  }
}

TEST_P(OperatorTables, FunctionsAgree) {
  constexpr float kTolerance = 2e-6F;  // own exponential and logarithm: a few units in the last place
  for (const std::int64_t n : kLengths) {
    SCOPED_TRACE("length " + std::to_string(n));
    const Values gate = random_values(n, 6, 8);
    const Values up = random_values(n, 7, 8);
    const auto check = [&](auto&& run) {
      const auto [got, expected] = both(n, run);
      expect_near(got, expected, kTolerance);
    };
    check([&](const auto& table, float* out) { table.swiglu(gate.data(), up.data(), 7, 0.5F, out, n); });
    check([&](const auto& table, float* out) { table.sqrt_softplus(gate.data(), out, n); });
    check([&](const auto& table, float* out) {
      std::copy(gate.begin(), gate.end(), out);
      float largest = 0;
      const float sum = table.softmax(out, n, 0.3F, 0.1F, &largest);
      for (std::int64_t i = 0; i < n; ++i) out[i] /= sum;
    });
    const float* const gates[] = {gate.data(), up.data()};
    const float* const values[] = {up.data(), gate.data()};
    check([&](const auto& table, float* out) { table.pool(gates, values, 2, out, n); });
    const float coefficients[] = {0.3F, -1.5F};
    check([&](const auto& table, float* out) { table.combine(values, coefficients, 2, out, n); });
    const float sum_tolerance = 1e-6F * static_cast<float>(n) * 64 * 8;
    EXPECT_NEAR(table_.sum_of_squares(gate.data(), n), generic_.sum_of_squares(gate.data(), n), sum_tolerance);
    EXPECT_NEAR(table_.dot(gate.data(), up.data(), n), generic_.dot(gate.data(), up.data(), n), sum_tolerance);
  }
}

TEST_P(OperatorTables, GradientsAgree) {
  constexpr float kTolerance = 1e-5F;
  for (const std::int64_t n : kLengths) {
    SCOPED_TRACE("length " + std::to_string(n));
    const Values x = random_values(n, 12);
    const Values weight = random_values(n, 13);
    const Values d_out = random_values(n, 14);
    const auto check = [&](const char* name, std::int64_t outputs, auto&& run) {
      const auto [got, expected] = both(outputs, run);
      SCOPED_TRACE(name);
      expect_near(got, expected, kTolerance);
    };
    check("swiglu_backward", 3 * n + 1, [&](const auto& table, float* out) {
      out[3 * n] = table.swiglu_backward(x.data(), weight.data(), 1, 0.5F, d_out.data(), out, out + n, out + 2 * n, n);
    });
    check("norm_backward", 2 * n, [&](const auto& table, float* out) {
      table.norm_backward(x.data(), weight.data(), d_out.data(), 0.7F, true, out, out + n, n);
    });
    check("score_slopes", 2 * n + 1,
          [&](const auto& table, float* out) { out[2 * n] = table.score_slopes(x.data(), out, out + n, n); });
    check("cross_entropy", n + 1,
          [&](const auto& table, float* out) { out[n] = table.cross_entropy(x.data(), n, n / 2, 0.5F, out); });
  }
}

TEST_P(OperatorTables, RotationsAndTransformsAgree) {
  const Values frequencies = {1, 0.3F, 0.01F, 1e-4F, 1e-6F};
  for (const std::int64_t position : {std::int64_t{0}, std::int64_t{7}, std::int64_t{1} << 20}) {
    for (const bool inverse : {false, true}) {
      const auto tables = both(20, [&](const auto& table, float* out) {
        table.rope_table(position, frequencies.data(), 5, inverse, out, out + 10);
      });
      expect_near(tables.first, tables.second, 1e-6F);
      const auto rotated = both(10, [&](const auto& table, float* out) {
        const Values x = random_values(10, 8);
        std::copy(x.begin(), x.end(), out);
        table.rotate(out, tables.second.data(), tables.second.data() + 10, 10);
      });
      expect_near(rotated.first, rotated.second, 1e-6F);
    }
  }
  for (const std::int64_t n : {1, 2, 4, 8, 16, 64, 128}) {
    const auto transformed = both(n, [&](const auto& table, float* out) {
      const Values x = random_values(n, 9);
      std::copy(x.begin(), x.end(), out);
      table.hadamard(out, n);
    });
    expect_near(transformed.first, transformed.second, 1e-5F);
  }
}

TEST_P(OperatorTables, ScoresOfATileAgreeWithPlainSums) {
  const std::int64_t keys = 2 * table_.lanes;
  for (const std::int64_t channels : {1, 7, 64, 66}) {
    for (const std::int64_t count : {keys, keys - 1, std::int64_t{1}}) {
      const Values key_rows = random_values(keys * channels, 10);
      const Values query = random_values(3 * channels, 11);
      std::vector<const std::byte*> addresses;
      for (std::int64_t key = 0; key < count; ++key) {
        addresses.push_back(std::as_bytes(std::span(key_rows)).data() + key * channels * 4);
      }
      Values packed(static_cast<std::size_t>(keys * (channels + 8)));
      Values scores(static_cast<std::size_t>(3 * keys), -7);
      table_.pack_keys(addresses.data(), count, channels, packed.data());
      table_.scores(query.data(), channels, 3, packed.data(), channels, scores.data(), keys);
      for (std::int64_t head = 0; head < 3; ++head) {
        for (std::int64_t key = 0; key < keys; ++key) {
          double expected = 0;
          for (std::int64_t c = 0; c < channels && key < count; ++c) {
            expected += static_cast<double>(query[static_cast<std::size_t>(head * channels + c)]) *
                        static_cast<double>(key_rows[static_cast<std::size_t>(key * channels + c)]);
          }
          EXPECT_NEAR(scores[static_cast<std::size_t>(head * keys + key)], expected, 1e-4) << head << " " << key;
        }
      }
    }
  }
}

TEST_P(OperatorTables, ProductsOfBlocksAgreeWithPlainSums) {
  constexpr std::int64_t kRows = 5;
  constexpr std::int64_t kKeys = 11;
  constexpr std::int64_t kChannels = 10;
  constexpr std::int64_t kStride = 16;  // a multiple of the lanes
  const BlockKernels& blocks = block_kernels(GetParam());
  const Values rows = random_values(kRows * kChannels, 15);
  const Values keys = random_values(kKeys * kChannels, 16);
  for (const BlockProducts* products : {&blocks.f32, &blocks.bf16}) {
    const std::int64_t words = kChannels / products->values;
    Values row_words(static_cast<std::size_t>(kRows * words));
    Values key_words(static_cast<std::size_t>(kKeys * words));
    products->narrow(rows.data(), row_words.data(), kRows * kChannels);
    products->narrow(keys.data(), key_words.data(), kKeys * kChannels);
    std::vector<const std::byte*> addresses;
    for (std::int64_t key = 0; key < kKeys; ++key) {
      addresses.push_back(std::as_bytes(std::span(key_words)).data() + key * words * 4);
    }
    Values packed(static_cast<std::size_t>(words * kStride));
    products->pack_columns(addresses.data(), kKeys, kChannels, packed.data(), kStride);
    Values out(static_cast<std::size_t>(kRows * kKeys), 7);
    products->multiply(row_words.data(), words, 1, kRows, packed.data(), kStride, kKeys, words, out.data(), kKeys,
                       false);
    Values expected;
    for (std::int64_t row = 0; row < kRows; ++row) {
      for (std::int64_t key = 0; key < kKeys; ++key) {
        expected.push_back(generic_.dot(rows.data() + row * kChannels, keys.data() + key * kChannels, kChannels));
      }
    }
    expect_near(out, expected, products->values == 1 ? 1e-5F : 0.05F);
  }
}

TEST_P(OperatorTables, RowsOfBlocksAgree) {
  const BlockKernels* const tables[] = {&block_kernels(GetParam()), &block_kernels("generic")};
  for (const std::int64_t n : kLengths) {
    SCOPED_TRACE("length " + std::to_string(n));
    const Values x = random_values(n, 17);
    const Values y = random_values(n, 18);
    const auto check = [&](const char* name, auto&& run) {
      SCOPED_TRACE(name);
      Values out[2];
      for (const int which : {0, 1}) {
        out[which] = x;
        out[which].insert(out[which].end(), y.begin(), y.end());
        out[which].push_back(run(*tables[which], out[which].data(), out[which].data() + n));
      }
      expect_near(out[0], out[1], 2e-5F);
    };
    check("dot", [&](const auto& table, float* a, float* b) { return table.dot(a, b, n); });
    check("softmax_gradient", [&](const auto& table, float* a, float* b) {
      table.softmax_gradient(a, b, n / 3, n, n, 0.5F, 1.5F, 0.2F);
      return 0.0F;
    });
    check("add_exponentials", [&](const auto& table, float* a, float* b) {
      table.add_exponentials(a, 0.5F, 1.5F, b, n);
      return 0.0F;
    });
    check("add_positive", [&](const auto& table, float* a, float* b) {
      table.add_positive(a, 0.5F, b, n);
      return 0.0F;
    });
    check("sink_gradient", [&](const auto& table, float* a, float* b) {
      table.sink_gradient(x.data(), y.data(), a, b, n);
      return 0.0F;
    });
    check("positive_gradient",
          [&](const auto& table, float* a, float* b) { return table.positive_gradient(a, b, 0.5F, n); });
    check("divergence", [&](const auto& table, float* a, float* b) {
      for (std::int64_t i = 0; i < n; ++i) a[i] = std::abs(a[i]);
      return table.divergence(a, b, 0.5F, n);
    });
    check("pool_gradient", [&](const auto& table, float* a, float* b) {
      const float* const gates[] = {x.data(), y.data()};
      const float* const values[] = {y.data(), x.data()};
      Values rest(static_cast<std::size_t>(2 * n));
      float* const d_gates[] = {a, rest.data()};
      float* const d_values[] = {b, rest.data() + n};
      table.pool_gradient(gates, values, 2, x.data(), d_gates, d_values, n);
      return rest.front() + rest.back();
    });
  }
}

std::vector<std::string> tables_here() {
  std::vector<std::string> names;
  for (const std::string_view isa : kInstructionSets) {
    if (kernel_table(isa)) names.emplace_back(isa);
  }
  return names;
}

INSTANTIATE_TEST_SUITE_P(Here, OperatorTables, ::testing::ValuesIn(tables_here()),
                         [](const auto& parameter) { return parameter.param; });

}  // namespace
}  // namespace hadal::cpu
