#include <cmath>

#include "ops/backend_cases.h"
#include "ops/embedding.h"
#include "ops/reference/reference_backend.h"
#include "testing/compare.h"
#include "testing/gradient_check.h"

namespace hadal::ops {
namespace {

using testing::OpRunner;

HADAL_BACKEND_SUITE(EmbeddingBackwardTest);

std::vector<double> table_gradient(OpRunner& runner, DType type, const std::vector<std::int64_t>& ids,
                                   const Shape& d_out_shape, const std::vector<double>& d_out, std::int64_t vocabulary,
                                   const std::vector<double>& before) {
  const TensorView d_table = runner.tensor(type, {vocabulary, d_out_shape[2]}, before);
  runner.run(embedding_backward, {.tokens = runner.i64({d_out_shape[0]}, ids),
                                  .d_out = runner.tensor(type, d_out_shape, d_out),
                                  .d_table = d_table});
  return runner.values(d_table);
}

TEST(EmbeddingBackwardGradient, AgreesWithDifferences) {
  testing::RandomValues random(321);
  const std::vector<std::int64_t> ids = {4, 0, 4, 2, 4, 0};
  const std::vector<double> table = random.normal(5 * 7, DType::kF32);
  const std::vector<double> d_out = random.normal(6 * 3 * 7, DType::kF64);
  ReferenceBackend reference;
  OpRunner runner(reference);
  testing::expect_gradient(
      {.name = "embedding_backward d_table",
       .type = DType::kF32,
       .values = table,
       .gradient = table_gradient(runner, DType::kF64, ids, {6, 3, 7}, d_out, 5, std::vector<double>(5 * 7)),
       .loss =
           [&](const std::vector<double>& values) {
             ReferenceBackend backend;
             OpRunner forward(backend);
             const TensorView out = forward.empty(DType::kF64, {6, 3, 7});
             forward.run(
                 embedding,
                 {.tokens = forward.i64({6}, ids), .table = forward.weight(DType::kF32, {5, 7}, values), .out = out});
             return testing::inner_product(d_out, forward.values(out));
           },
       .samples = 35});
}

// Frequent and rare ids, ids that no token names, channels that are no multiple of a vector.
TEST_P(EmbeddingBackwardTest, AddsTheRowsOfEachToken) {
  testing::RandomValues random(322);
  for (const DType type : real_types()) {
    for (const std::int64_t channels : {1, 19, 64, 700}) {
      for (const std::int64_t tokens : {1, 3, 90}) {
        const std::int64_t vocabulary = 31;
        const std::int64_t streams = channels == 19 ? 1 : 4;
        std::vector<std::int64_t> ids;
        for (std::int64_t t = 0; t < tokens; ++t) ids.push_back(t % 3 == 0 ? 30 : random.integer(0, 20));
        const std::vector<double> d_out = random.normal(tokens * streams * channels, type);
        const std::vector<double> before = random.normal(vocabulary * channels, type);
        std::vector<double> expected = before;
        std::vector<double> magnitude(before.size());
        for (std::int64_t t = 0; t < tokens; ++t) {
          for (std::int64_t i = 0; i < streams * channels; ++i) {
            const auto to = static_cast<std::size_t>(ids[static_cast<std::size_t>(t)] * channels + i % channels);
            const double value = d_out[static_cast<std::size_t>(t * streams * channels + i)];
            expected[to] += value;
            magnitude[to] += std::abs(value);
          }
        }
        const std::vector<double> actual =
            table_gradient(runner_, type, ids, {tokens, streams, channels}, d_out, vocabulary, before);
        for (std::size_t i = 0; i < actual.size(); ++i) {
          const double eps = static_cast<double>(tokens * streams + 1) * testing::epsilon(type);
          ASSERT_LE(std::abs(actual[i] - expected[i]), eps * (magnitude[i] + std::abs(before[i]))) << i;
          if (magnitude[i] == 0) {
            ASSERT_EQ(actual[i], before[i]) << "a row that no token names, element " << i;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace hadal::ops
