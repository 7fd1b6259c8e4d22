#include "testing/gradient_check.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <random>

#include "base/check.h"
#include "testing/compare.h"

namespace hadal::testing {

namespace {

constexpr std::size_t kPoints = 4;  // beside the value itself

/// dL/dvalues[index] from the polynomial through the value and four points around it.
double derivative(const GradientCase& gradient, std::size_t index, double at_value) {
  constexpr std::array<double, kPoints> kSteps = {-2, -1, 1, 2};
  std::vector<double> values = gradient.values;
  std::array<double, kPoints> offsets{};
  std::array<double, kPoints> losses{};
  for (std::size_t i = 0; i < kPoints; ++i) {
    values[index] = as_stored(gradient.type, gradient.values[index] + kSteps[i] * gradient.step);
    offsets[i] = values[index] - gradient.values[index];
    losses[i] = gradient.loss(values);
  }
  double sum = 0;
  for (std::size_t i = 0; i < kPoints; ++i) {
    double weight = 1 / offsets[i];  // derivative at offset 0 of the i-th Lagrange polynomial
    for (std::size_t j = 0; j < kPoints; ++j) {
      if (j != i) weight *= offsets[j] / (offsets[j] - offsets[i]);
    }
    sum += weight * (losses[i] - at_value);
  }
  return sum;
}

std::vector<std::size_t> sampled(const GradientCase& gradient) {
  std::vector<std::size_t> order(gradient.values.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::mt19937_64 random(order.size());
  std::shuffle(order.begin(), order.end(), random);
  const auto larger = [&](std::size_t a, std::size_t b) {
    return std::abs(gradient.gradient[a]) < std::abs(gradient.gradient[b]);
  };
  std::iter_swap(order.begin(), std::max_element(order.begin(), order.end(), larger));
  order.resize(std::min(order.size(), static_cast<std::size_t>(gradient.samples)));
  return order;
}

}  // namespace

double inner_product(std::span<const double> a, std::span<const double> b) {
  HADAL_CHECK(a.size() == b.size(), "vectors of one length");
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

double gradient_error(const GradientCase& gradient) {
  HADAL_CHECK(!gradient.values.empty() && gradient.values.size() == gradient.gradient.size(),
              "a gradient has as many entries as its input");
  const double at_value = gradient.loss(gradient.values);
  double largest = 0;
  double difference = 0;
  for (const std::size_t index : sampled(gradient)) {
    const double numeric = derivative(gradient, index, at_value);
    const double apart = std::abs(numeric - gradient.gradient[index]);
    if (std::isnan(apart)) return apart;
    largest = std::max(largest, std::abs(numeric));
    difference = std::max(difference, apart);
  }
  return difference == 0 ? 0 : difference / largest;
}

void expect_gradient(const GradientCase& gradient, double tolerance) {
  const double error = gradient_error(gradient);
  std::string key = gradient.name;  // an attribute of the XML report
  std::replace(key.begin(), key.end(), ' ', '_');
  ::testing::Test::RecordProperty(key, fmt::format("{:.2e}", error));
  fmt::print("[ gradient ] {}: relative error {:.2e} of {} entries\n", gradient.name, error,
             std::min(gradient.values.size(), static_cast<std::size_t>(gradient.samples)));
  EXPECT_LE(error, tolerance) << gradient.name;
}

}  // namespace hadal::testing
