#include <cmath>

#include "ops/backend_cases.h"
#include "ops/hc_head.h"
#include "ops/hc_post.h"
#include "ops/hc_pre.h"
#include "ops/mean_streams.h"
#include "testing/compare.h"
#include "testing/golden_file.h"

namespace hadal::ops {
namespace {

using testing::GoldenFile;

HADAL_BACKEND_SUITE(HyperConnectionTest);

TEST_P(HyperConnectionTest, GoldenPrePostAndHead) {
  const GoldenFile units("units.safetensors");
  for (const DType type : real_types()) {
    const TensorView streams = runner_.tensor(type, {10, 4, 64}, units.doubles("mhc.streams"));
    const TensorView input = runner_.empty(type, {10, 64});
    const TensorView post = runner_.empty(type, {10, 4});
    const TensorView comb = runner_.empty(type, {10, 4, 4});
    runner_.run(hc_pre, {.streams = streams,
                         .fn = runner_.weight(DType::kF32, {24, 256}, units.doubles("mhc.fn")),
                         .base = runner_.weight(DType::kF32, {24}, units.doubles("mhc.base")),
                         .scale = runner_.weight(DType::kF32, {3}, units.doubles("mhc.scale")),
                         .input = input,
                         .post = post,
                         .comb = comb,
                         .norm_eps = 1e-6,
                         .hc_eps = 1e-6,
                         .sinkhorn_iterations = 20});
    testing::expect_golden_rows(runner_.values(input), units.doubles("mhc.input"), 64, type);
    testing::expect_golden(runner_.values(post), units.doubles("mhc.post"), type);
    testing::expect_golden(runner_.values(comb), units.doubles("mhc.comb"), type);

    const TensorView head = runner_.empty(type, {10, 64});
    runner_.run(hc_head, {.streams = streams,
                          .fn = runner_.weight(DType::kF32, {4, 256}, units.doubles("mhc.head_fn")),
                          .base = runner_.weight(DType::kF32, {4}, units.doubles("mhc.head_base")),
                          .scale = runner_.weight(DType::kF32, {1}, units.doubles("mhc.head_scale")),
                          .out = head,
                          .norm_eps = 1e-6,
                          .hc_eps = 1e-6});
    testing::expect_golden_rows(runner_.values(head), units.doubles("mhc.head_output"), 64, type);

    // With the operator's own mixes, which f64 did not round to the golden file's float32.
    runner_.run(hc_post, {.sublayer_output = runner_.tensor(type, {10, 64}, units.doubles("mhc.sublayer_output")),
                          .post = post,
                          .comb = comb,
                          .streams = streams});
    testing::expect_golden_rows(runner_.values(streams), units.doubles("mhc.new_streams"), 64, type);
  }
}

TEST_P(HyperConnectionTest, PostMixesByTheFirstIndexOfComb) {
  for (const DType type : real_types()) {
    const TensorView streams = runner_.tensor(type, {1, 2, 3}, {1, 2, 3, 10, 20, 30});
    runner_.run(hc_post, {.sublayer_output = runner_.tensor(type, {1, 3}, {100, 200, 300}),
                          .post = runner_.tensor(type, {1, 2}, {1, 2}),
                          .comb = runner_.tensor(type, {1, 2, 2}, {1, 2, 3, 4}),
                          .streams = streams});
    // stream 0: 1 y + 1 X0 + 3 X1; stream 1: 2 y + 2 X0 + 4 X1.
    testing::expect_same(runner_.values(streams), std::vector<double>{131, 262, 393, 242, 484, 726});
  }
}

// Any number of streams and odd widths; the columns of comb sum to 1 (they are normalised last), rows nearly.
TEST_P(HyperConnectionTest, CombIsDoublyStochasticForEveryNumberOfStreams) {
  testing::RandomValues random(31);
  for (const DType type : real_types()) {
    for (const std::int64_t n : {1, 2, 3, 4, 8}) {
      const std::int64_t width = 37;
      const std::int64_t mixes = (2 + n) * n;
      const TensorView comb = runner_.empty(type, {2, n, n});
      runner_.run(hc_pre,
                  {.streams = runner_.tensor(type, {2, n, width}, random.normal(2 * n * width, type)),
                   .fn = runner_.weight(DType::kF32, {mixes, n * width}, random.normal(mixes * n * width, DType::kF32)),
                   .base = runner_.weight(DType::kF32, {mixes}, random.normal(mixes, DType::kF32)),
                   .scale = runner_.weight(DType::kF32, {3}, {0.1, 0.1, 0.1}),
                   .input = runner_.empty(type, {2, width}),
                   .post = runner_.empty(type, {2, n}),
                   .comb = comb,
                   .norm_eps = 1e-6,
                   .hc_eps = 1e-6,
                   .sinkhorn_iterations = 40});
      const std::vector<double> values = runner_.values(comb);
      const auto at = [&](std::int64_t token, std::int64_t j, std::int64_t k) {
        return values[static_cast<std::size_t>((token * n + j) * n + k)];
      };
      for (std::int64_t token = 0; token < 2; ++token) {
        for (std::int64_t j = 0; j < n; ++j) {
          double row = 0;
          double column = 0;
          for (std::int64_t k = 0; k < n; ++k) {
            row += at(token, j, k);
            column += at(token, k, j);
          }
          EXPECT_NEAR(column, 1, 3e-6);
          EXPECT_NEAR(row, 1, 1e-4);
        }
      }
    }
  }
}

TEST_P(HyperConnectionTest, MeanOfStreamsGoesToStridedRows) {
  for (const DType type : real_types()) {
    const TensorView out = runner_.empty(type, {2, 2}, 5);
    runner_.run(
        mean_streams,
        {.streams = runner_.tensor(type, {2, 4, 2}, {1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 1, 1, 0, 0, 0, 0}), .out = out});
    testing::expect_same(runner_.values(out), std::vector<double>{4, 5, 0.25, 0.25});
  }
}

}  // namespace
}  // namespace hadal::ops
