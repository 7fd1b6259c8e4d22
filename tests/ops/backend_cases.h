#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "testing/op_runner.h"

namespace hadal::testing {

/// A backend on which every operator test runs.
struct BackendCase {
  std::string name;  // part of the test's name: letters, digits, underscores
  std::unique_ptr<ops::Backend> (*create)();
  bool f64;  // whether it computes in double as well
};

/// Every backend and instruction set that this machine can run.
[[nodiscard]] std::vector<BackendCase> backends_under_test();

/// The fixture of operator tests: one backend, one runner.
class BackendTest : public ::testing::TestWithParam<BackendCase> {
 protected:
  /// The types of f32 | f64 operators that the backend has.
  [[nodiscard]] std::vector<DType> real_types() const {
    return GetParam().f64 ? std::vector<DType>{DType::kF32, DType::kF64} : std::vector<DType>{DType::kF32};
  }
  /// The types of the inputs of products.
  [[nodiscard]] std::vector<DType> product_types() const {
    std::vector<DType> types = real_types();
    types.push_back(DType::kBf16);
    return types;
  }

  std::unique_ptr<ops::Backend> backend_ = GetParam().create();
  OpRunner runner_{*backend_};
};

}  // namespace hadal::testing

/// Declares `suite` as an operator test and runs its TEST_P cases on every backend.
#define HADAL_BACKEND_SUITE(suite)                                                                        \
  class suite : public ::hadal::testing::BackendTest {};                                                  \
  INSTANTIATE_TEST_SUITE_P(Backends, suite, ::testing::ValuesIn(::hadal::testing::backends_under_test()), \
                           [](const auto& backend_case) { return backend_case.param.name; })

/// The same on the reference alone: for tests in f64, in which no other backend computes.
#define HADAL_REFERENCE_SUITE(suite)                                                                             \
  class suite : public ::hadal::testing::BackendTest {};                                                         \
  INSTANTIATE_TEST_SUITE_P(Reference, suite, ::testing::Values(::hadal::testing::backends_under_test().front()), \
                           [](const auto& backend_case) { return backend_case.param.name; })
