#include "train/muon.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/thread_pool.h"
#include "ops/reference/reference_backend.h"
#include "small_model.h"
#include "train/parameters.h"

namespace hadal::train {
namespace {

/// The change that one Muon step makes to the matrix at rows [first, first + rows) of a tensor of zeros, divided by
/// -lr * 0.18 * sqrt(max(rows, columns)): orthonormal rows or columns.
std::vector<double> direction_of(const Parameters& parameters, std::string_view name, std::int64_t first,
                                 std::int64_t rows, double rate) {
  const Parameter& tensor = *parameters.find(name);
  const std::int64_t columns = tensor.shape[1];
  std::vector<double> direction;
  const double scale = -rate * 0.18 * std::sqrt(static_cast<double>(std::max(rows, columns)));
  for (std::int64_t i = first * columns; i < (first + rows) * columns; ++i) {
    direction.push_back(parameters.master(tensor)[static_cast<std::size_t>(i)] / scale);
  }
  return direction;
}

/// a [rows, columns] . b^T, b like a.
std::vector<double> outer(std::span<const double> a, std::span<const double> b, std::size_t rows, std::size_t columns) {
  std::vector<double> product(rows * rows);
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < rows; ++j) {
      for (std::size_t k = 0; k < columns; ++k) product[i * rows + j] += a[i * columns + k] * b[j * columns + k];
    }
  }
  return product;
}

std::vector<double> transposed(std::span<const double> a, std::size_t rows, std::size_t columns) {
  std::vector<double> result(a.size());
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < columns; ++j) result[j * rows + i] = a[i * columns + j];
  }
  return result;
}

struct Logical {
  std::string_view tensor;
  std::int64_t first, rows, columns;
};
constexpr Logical kMatrices[] = {
    {"layers.0.attn.wq_a.weight", 0, 32, 64},
    {"layers.0.attn.wq_b.weight", 0, 96, 32},
    {"layers.0.attn.wo_a.weight", 32, 32, 48},
    {"layers.1.attn.compressor.wkv.weight", 48, 48, 64},
    {"layers.0.hc_attn_fn", 0, 4, 256},
    {"layers.0.hc_attn_fn", 8, 16, 256},
    {"layers.1.ffn.experts.1.w2.weight", 0, 64, 32},
};

TEST(Muon, UpdatesAreThePolarFactorOfTheGradient) {
  ops::ReferenceBackend backend;
  for (const DType product : {DType::kF32, DType::kBf16}) {
    const auto parameters = make_small(backend);
    ThreadPool pool(2);
    fill_random(parameters->gradient(), 3);
    auto muon = Muon::create(*parameters, {.product = product}, backend);
    ASSERT_TRUE(muon.has_value()) << muon.error().message;
    ASSERT_TRUE((*muon)->step(0.01, 1, pool).has_value());
    EXPECT_EQ((*muon)->skipped(), 0);
    const double tolerance = product == DType::kF32 ? 0.004 : 0.02;  // 8 + 2 steps leave 1.000 to 1.002
    for (const Logical& matrix : kMatrices) {
      const bool tall = matrix.rows > matrix.columns;
      const auto rows = static_cast<std::size_t>(tall ? matrix.columns : matrix.rows);
      const auto columns = static_cast<std::size_t>(tall ? matrix.rows : matrix.columns);
      auto o = direction_of(*parameters, matrix.tensor, matrix.first, matrix.rows, 0.01);
      const Parameter& tensor = *parameters->find(matrix.tensor);
      const auto all = parameters->gradient(tensor);
      std::vector<double> g(all.begin() + static_cast<std::ptrdiff_t>(matrix.first * matrix.columns),
                            all.begin() + static_cast<std::ptrdiff_t>((matrix.first + matrix.rows) * matrix.columns));
      if (tall) {
        o = transposed(o, columns, rows);
        g = transposed(g, columns, rows);
      }
      const auto gram = outer(o, o, rows, columns);
      const auto mixed = outer(o, g, rows, columns);  // U V^T V S U^T: symmetric
      double largest = 0;
      for (const double value : mixed) largest = std::max(largest, std::abs(value));
      for (std::size_t i = 0; i < rows; ++i) {
        ASSERT_GT(mixed[i * rows + i], 0);
        for (std::size_t j = 0; j < rows; ++j) {
          ASSERT_NEAR(gram[i * rows + j], i == j ? 1 : 0, tolerance) << matrix.tensor << " " << i << " " << j;
          ASSERT_NEAR(mixed[i * rows + j], mixed[j * rows + i], tolerance * largest) << matrix.tensor;
        }
      }
    }
  }
}

TEST(Muon, SpreadSingularValuesBecomeOne) {
  // A gradient with singular values 1, 1/2, ..., 2^-13 on a diagonal: the update's diagonal is 1 each.
  ops::ReferenceBackend backend;
  const auto parameters = make_small(backend);
  ThreadPool pool(1);
  const Parameter& tensor = *parameters->find("layers.0.attn.wq_a.weight");  // [32, 64]
  for (std::size_t i = 0; i < 14; ++i) {
    parameters->gradient(tensor)[i * 64 + i] = static_cast<float>(std::ldexp(1.0, -static_cast<int>(i)));
  }
  auto muon = Muon::create(*parameters, {.product = DType::kF32}, backend);
  ASSERT_TRUE((*muon)->step(0.01, 1, pool).has_value());
  const auto o = direction_of(*parameters, tensor.name, 0, 32, 0.01);
  for (std::size_t i = 0; i < 14; ++i) EXPECT_NEAR(o[i * 64 + i], 1, 0.003) << i;

  const auto economy = make_small(backend);
  for (std::size_t i = 0; i < 14; ++i) {
    economy->gradient(tensor)[i * 64 + i] = static_cast<float>(std::ldexp(1.0, -static_cast<int>(i)));
  }
  fill_random(economy->gradient(*economy->find("layers.0.attn.wkv.weight")), 4);
  auto five = Muon::create(*economy, {.steps = Muon::Steps::kEconomy, .product = DType::kF32}, backend);
  ASSERT_TRUE((*five)->step(0.01, 1, pool).has_value());
  const auto partly = direction_of(*economy, tensor.name, 0, 32, 0.01);
  EXPECT_NEAR(partly[0], 1, 0.35);
  EXPECT_LT(partly[13 * 64 + 13], 0.2);  // five steps do not reach it
}

TEST(Muon, MomentumIsAPlainSumWithNesterov) {
  // In one dimension the direction is only a sign, so the momentum itself is compared, and the sign follows
  // mu M + G: after gradients 1 and -1.9 M = -0.95 and mu M + G < 0, after another +1.9, M = 0.9975 and it is > 0.
  ops::ReferenceBackend backend;
  const auto parameters = make_small(backend);
  ThreadPool pool(1);
  const Parameter& tensor = *parameters->find("layers.0.attn.wq_a.weight");
  auto muon = Muon::create(*parameters, {.weight_decay = 0, .product = DType::kF32}, backend);
  const auto weight = parameters->master(tensor);
  const auto gradient = parameters->gradient(tensor);
  float before = 0;
  double m = 0;
  const double step = 0.01 * 0.18 * 8;  // sqrt(64)
  for (const double g : {1.0, -1.9, 1.9, -0.9}) {
    gradient[0] = static_cast<float>(g / 2);
    ASSERT_TRUE((*muon)->step(0.01, 2, pool).has_value());
    m = 0.95 * m + g;
    const double sign = 0.95 * m + g > 0 ? 1 : -1;
    EXPECT_NEAR(weight[0] - before, -step * sign, step * 0.003) << g;
    before = weight[0];
  }
  const auto& momentum = (*muon)->momentum();
  EXPECT_EQ(std::count_if(momentum.begin(), momentum.end(), [&](float x) { return std::abs(x - m) < 1e-5; }), 1);
}

TEST(Muon, MatricesWithoutGradientStay) {
  ops::ReferenceBackend backend;
  const auto parameters = make_small(backend);
  ThreadPool pool(1);
  fill_random(parameters->master(), 5);
  fill_random(parameters->gradient(), 6);
  auto muon = Muon::create(*parameters, {.product = DType::kF32}, backend);
  ASSERT_TRUE((*muon)->step(0.01, 1, pool).has_value());
  const Parameter& expert = *parameters->find("layers.1.ffn.experts.1.w1.weight");
  const auto weights = parameters->master(expert);
  const std::vector<float> before(weights.begin(), weights.end());
  const std::vector<float> momentum((*muon)->momentum().begin(), (*muon)->momentum().end());
  parameters->zero_gradients(pool);
  ASSERT_TRUE((*muon)->step(0.01, 1, pool).has_value());
  EXPECT_TRUE(std::equal(before.begin(), before.end(), weights.begin()));
  EXPECT_TRUE(std::equal(momentum.begin(), momentum.end(), (*muon)->momentum().begin()));
  EXPECT_GT((*muon)->skipped(), 30);
}

TEST(Muon, DecayAndDirectionAdd) {
  ops::ReferenceBackend backend;
  const auto plain = make_small(backend);
  const auto decayed = make_small(backend);
  ThreadPool pool(1);
  fill_random(decayed->master(), 5);
  fill_random(plain->gradient(), 6);
  fill_random(decayed->gradient(), 6);
  const std::vector<float> before(decayed->master().begin(), decayed->master().end());
  auto first = Muon::create(*plain, {.product = DType::kF32}, backend);
  auto second = Muon::create(*decayed, {.product = DType::kF32}, backend);
  ASSERT_TRUE((*first)->step(0.5, 1, pool).has_value());
  ASSERT_TRUE((*second)->step(0.5, 1, pool).has_value());
  const Parameter& tensor = *plain->find("layers.1.attn.wkv.weight");
  for (std::size_t i = 0; i < 100; ++i) {
    const auto at = static_cast<std::size_t>(tensor.first) + i;
    EXPECT_NEAR(decayed->master()[at], before[at] * (1 - 0.5F * 0.1F) + plain->master()[at], 1e-5);
  }
}

TEST(Muon, ClippingLeavesTheIndexerAlone) {
  // The scale of the first step does not show in the direction, but it does in the momentum.
  ops::ReferenceBackend backend;
  const auto parameters = make_small(backend);
  ThreadPool pool(1);
  const Parameter& indexer = *parameters->find("layers.1.attn.indexer.weights_proj.weight");
  const Parameter& main = *parameters->find("layers.1.attn.wkv.weight");
  parameters->gradient(indexer)[0] = 3;
  parameters->gradient(main)[0] = 5;
  auto muon = Muon::create(*parameters, {.product = DType::kF32}, backend);
  ASSERT_TRUE((*muon)->step(0.01, 0.25, pool).has_value());
  std::vector<float> there;
  for (const float value : (*muon)->momentum()) {
    if (value != 0) there.push_back(value);
  }
  EXPECT_THAT(there, ::testing::UnorderedElementsAre(3.0F, 1.25F));
}

TEST(Muon, BitsDoNotDependOnThreads) {
  ops::ReferenceBackend backend;
  const auto one = make_small(backend);
  const auto two = make_small(backend);
  ThreadPool single(1);
  ThreadPool pair(2);
  auto first = Muon::create(*one, {}, backend);
  auto second = Muon::create(*two, {}, backend);
  for (std::uint32_t step = 0; step < 2; ++step) {
    fill_random(one->gradient(), step);
    fill_random(two->gradient(), step);
    ASSERT_TRUE((*first)->step(1e-2, 0.7, single).has_value());
    ASSERT_TRUE((*second)->step(1e-2, 0.7, pair).has_value());
  }
  EXPECT_TRUE(std::equal(one->master().begin(), one->master().end(), two->master().begin()));
}

}  // namespace
}  // namespace hadal::train
