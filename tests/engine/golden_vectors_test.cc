// The whole model against the golden vectors, as `hadal verify` compares them, on every backend and instruction set.

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "engine/vector_check.h"
#include "formats/checkpoint.h"
#include "formats/safetensors.h"
#include "model/model.h"
#include "ops/backend_cases.h"
#include "testing/golden_path.h"

namespace hadal::engine {
namespace {

/// Medians and 90 % quantiles of `exact_vs_official` in each case's summary.json: what the official code itself
/// deviates.
struct Checkpoint {
  std::string name;
  Yardstick official;
};

const Checkpoint kCheckpoints[] = {
    {"tiny-base", {.kl_median = 0.02678, .kl_p90 = 0.1358, .top1_agree = 0.8144}},
    {"tiny-flash", {.kl_median = 0.05992, .kl_p90 = 0.2282, .top1_agree = 0.7216}},
    {"tiny-pro", {.kl_median = 0.06557, .kl_p90 = 0.2334, .top1_agree = 0.6649}},
    {"tiny-dspark", {}},
};

class GoldenVectors : public testing::BackendTest {
 protected:
  /// Compares one file of vectors; true if it was there.
  bool check(const std::string& name, const std::string& vectors, const std::string& numerics, std::int64_t chunk,
             const std::optional<Yardstick>& yardstick = {}) {
    const auto directory = testing::golden_path(name);
    const auto path = testing::golden_path(name + "/" + vectors + ".safetensors");
    if (!directory || !path) return false;
    SCOPED_TRACE(name + " " + vectors + " with numerics " + numerics);
    auto checkpoint = formats::Checkpoint::open(*directory / "checkpoint");
    EXPECT_TRUE(checkpoint) << checkpoint.error().message;
    auto model =
        model::Model::load(*backend_, **checkpoint, (*checkpoint)->config(), *model::numerics_profile(numerics));
    EXPECT_TRUE(model) << model.error().message;
    auto file = formats::SafetensorsFile::open(*path);
    EXPECT_TRUE(file) << file.error().message;
    auto report = check_vectors(**model, **file, !yardstick, {.chunk = chunk, .yardstick = yardstick});
    EXPECT_TRUE(report) << report.error().message;
    if (!report) return true;
    EXPECT_TRUE(report->ok) << "the deviation begins at " << report->first_deviation;
    EXPECT_FALSE(report->lines.empty());
    for (const CheckLine& line : report->lines) {
      if (!line.ok) {
        ADD_FAILURE() << fmt::format(
            "{}: max {:.3g} rms {:.3g} (golden rms {:.3g}, limit {:.3g}), {} of {} rows differ; {}", line.name,
            line.max, line.rms, line.golden_rms, line.limit, line.differing_rows, line.rows, line.note);
      }
      if (line.name == "logits") {
        RecordProperty(fmt::format("{}_{}_{}", name, vectors, numerics), fmt::format("{:.3g}", line.max));
      }
    }
    return true;
  }
};

TEST_P(GoldenVectors, ValuesInExact) {
  int cases = 0;
  for (const Checkpoint& c : kCheckpoints) cases += check(c.name, "exact", "exact", 129) ? 1 : 0;
  EXPECT_GE(cases, 2);  // two are the project's own
}

TEST_P(GoldenVectors, ValuesInDouble) {
  if (!GetParam().f64) return;
  int cases = 0;
  for (const Checkpoint& c : kCheckpoints) cases += check(c.name, "exact", "exact64", 64) ? 1 : 0;
  EXPECT_GE(cases, 2);
}

TEST_P(GoldenVectors, EveryLayerInSim) {
  int cases = 0;
  for (const Checkpoint& c : kCheckpoints) {
    cases += check(c.name, "sim_layers", GetParam().f64 ? "sim64" : "sim", 168) ? 1 : 0;
    if (GetParam().f64) check(c.name, "sim_layers", "sim", 168);
  }
  EXPECT_GE(cases, 1);
}

TEST_P(GoldenVectors, FreeRunInSim) {
  int cases = 0;
  for (const Checkpoint& c : kCheckpoints) {
    cases += check(c.name, "sim", GetParam().f64 ? "sim64" : "sim", 512) ? 1 : 0;
  }
  EXPECT_GE(cases, 2);
}

// BF16 at the inputs of products: no value can be compared, distributions can (rule 5 of the golden data).
TEST_P(GoldenVectors, DistributionsInBf16) {
  for (const Checkpoint& c : kCheckpoints) {
    if (c.official.top1_agree > 0) check(c.name, "exact", "bf16", 512, c.official);
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, GoldenVectors, ::testing::ValuesIn(testing::backends_under_test()),
                         [](const ::testing::TestParamInfo<testing::BackendCase>& parameter) {
                           return parameter.param.name;
                         });

}  // namespace
}  // namespace hadal::engine
