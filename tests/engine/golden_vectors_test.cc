// The whole model against the golden vectors, as `hadal verify` compares them.

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <memory>

#include "engine/vector_check.h"
#include "formats/checkpoint.h"
#include "formats/safetensors.h"
#include "model/model.h"
#include "ops/reference/reference_backend.h"
#include "testing/golden_path.h"

namespace hadal::engine {
namespace {

struct Case {
  std::string checkpoint;
  std::string vectors;
  std::string numerics;
  std::int64_t chunk;
  // Largest deviations that were measured, with room: sharper than the general tolerance, so that a loss shows.
  double logits_max;
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.checkpoint << " " << c.vectors << " " << c.numerics << " chunk " << c.chunk;
}

class GoldenVectors : public ::testing::TestWithParam<Case> {};

TEST_P(GoldenVectors, Agree) {
  const Case& c = GetParam();
  const auto directory = testing::golden_path(c.checkpoint);
  const auto vectors = testing::golden_path(c.checkpoint + "/" + c.vectors + ".safetensors");
  if (!directory || !vectors) GTEST_SKIP() << "golden data " << c.checkpoint << " is not here";
  auto checkpoint = formats::Checkpoint::open(*directory / "checkpoint");
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  ops::ReferenceBackend backend;
  auto profile = model::numerics_profile(c.numerics);
  ASSERT_TRUE(profile);
  auto model = model::Model::load(backend, **checkpoint, (*checkpoint)->config(), *profile);
  ASSERT_TRUE(model) << model.error().message;
  auto file = formats::SafetensorsFile::open(*vectors);
  ASSERT_TRUE(file) << file.error().message;

  auto report = check_vectors(**model, **file, true, {.chunk = c.chunk, .yardstick = {}});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_TRUE(report->ok) << "begins at " << report->first_deviation;
  EXPECT_GE(report->lines.size(), 1U);
  for (const CheckLine& line : report->lines) {
    if (!line.ok) {
      ADD_FAILURE() << fmt::format(
          "{}: max {:.3g} rms {:.3g} (golden rms {:.3g}, limit {:.3g}), {} of {} rows differ; {}", line.name, line.max,
          line.rms, line.golden_rms, line.limit, line.differing_rows, line.rows, line.note);
    }
    if (line.name == "logits" && c.logits_max > 0) {
      EXPECT_LE(line.max, c.logits_max);
      RecordProperty("logits_max", fmt::format("{:.3g}", line.max));
    }
  }
}

std::vector<Case> cases() {
  std::vector<Case> list;
  for (const char* name : {"tiny-base", "tiny-dspark", "tiny-flash", "tiny-pro"}) {
    list.push_back({name, "exact", "exact", 129, 5e-5});
    list.push_back({name, "exact", "exact64", 64, 1e-9});
    list.push_back({name, "sim", "sim64", 512, 0});
    list.push_back({name, "sim_layers", "sim", 168, 0});
    list.push_back({name, "sim_layers", "sim64", 168, 0});
  }
  return list;
}

INSTANTIATE_TEST_SUITE_P(Reference, GoldenVectors, ::testing::ValuesIn(cases()),
                         [](const ::testing::TestParamInfo<Case>& parameter) {
                           std::string name = parameter.param.checkpoint + "_" + parameter.param.vectors + "_" +
                                              parameter.param.numerics;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace hadal::engine
