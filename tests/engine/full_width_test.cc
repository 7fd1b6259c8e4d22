// Layers of Flash and Pro at their true widths, with all their experts: the CPU backend against the plain reference.

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "backends/cpu/cpu_backend.h"
#include "engine/recorder.h"
#include "engine/vector_set.h"
#include "formats/presets.h"
#include "formats/tensor_table.h"
#include "model/model.h"
#include "ops/reference/reference_backend.h"
#include "testing/pool_source.h"

namespace hadal::engine {
namespace {

constexpr std::int64_t kTokens = 132;  // completes one block of 128

struct Case {
  std::string name;
  std::string preset;
  std::vector<std::int64_t> compress_ratios;
  std::int64_t hash_layers;
};

class FullWidth : public ::testing::TestWithParam<Case> {};

std::unique_ptr<VectorSet> run(ops::Backend& backend, const formats::WeightSource& source,
                               const formats::ModelConfig& config, const std::string& numerics) {
  auto model = model::Model::load(backend, source, config, *model::numerics_profile(numerics));
  EXPECT_TRUE(model) << model.error().message;
  std::vector<std::int64_t> tokens(kTokens);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = static_cast<std::int64_t>(philox({static_cast<std::uint32_t>(i), 0, 0, 0}, {5, 5})[0] %
                                          static_cast<std::uint32_t>(config.vocab_size));
  }
  RecordOptions options{.chunk = kTokens,
                        .batch = 1,
                        .logits_positions = {kTokens - 1},
                        .mtp_logits_positions = {},
                        .trace_positions = {0, 1, 63, 126, 127, 128, kTokens - 1},
                        .drafter = false,
                        .context_positions = {},
                        .anchors = {},
                        .full_positions = {},
                        .forced_inputs = nullptr};
  auto recorded = record(**model, tokens, options);
  EXPECT_TRUE(recorded) << recorded.error().message;
  return recorded ? std::move(*recorded) : nullptr;
}

/// Largest deviation over the rms of the expected values.
double relative_deviation(const VectorSet& expected, const VectorSet& got, const std::string& name) {
  const auto a = *reals(expected, name);
  const auto b = *reals(got, name);
  double square = 0;
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_TRUE(std::isfinite(a[i]) && std::isfinite(b[i])) << name;
    square += static_cast<double>(a[i]) * static_cast<double>(a[i]);
    worst = std::max(worst, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  }
  return worst / std::sqrt(square / static_cast<double>(a.size()));
}

TEST_P(FullWidth, CpuEqualsReference) {
  auto config = formats::preset(GetParam().preset);
  ASSERT_TRUE(config);
  config->num_hidden_layers = static_cast<std::int64_t>(GetParam().compress_ratios.size());
  config->compress_ratios = GetParam().compress_ratios;
  config->num_hash_layers = GetParam().hash_layers;
  config->num_nextn_predict_layers = 0;
  config->vocab_size = 2048;  // the vocabulary is not what is tested
  auto table = formats::TensorTable::make(*config, {}, {});
  ASSERT_TRUE(table) << table.error().message;
  const testing::PoolSource source(*table, 1);

  ops::ReferenceBackend reference;
  const auto expected = run(reference, source, *config, "exact");
  auto cpu = cpu::CpuBackend::create(2);
  ASSERT_TRUE(cpu);
  const auto got = run(**cpu, source, *config, "exact");
  ASSERT_TRUE(expected && got);
  for (const std::string& name : expected->names()) {
    const auto tensor = *expected->tensor(name);
    if (tensor.type == DType::kI32) {
      EXPECT_EQ(*integers(*expected, name), *integers(*got, name)) << name;
    } else if (tensor.type == DType::kF32 && tensor.bytes > 0) {
      const double deviation = relative_deviation(*expected, *got, name);
      // f32 sums over up to 28,672 products, through up to three layers.
      EXPECT_LT(deviation, 5e-4) << name;
      RecordProperty(name, fmt::format("{:.2g}", deviation));
    }
  }
  EXPECT_EQ(*integers(*expected, "layers.0.experts"), *integers(*got, "layers.0.experts"));
}

INSTANTIATE_TEST_SUITE_P(Layers, FullWidth,
                         ::testing::Values(Case{"flash", "flash", {0, 4, 128}, 1}, Case{"pro", "pro", {128}, 0},
                                           Case{"pro_sparse", "pro", {4}, 0}),
                         [](const ::testing::TestParamInfo<Case>& parameter) { return parameter.param.name; });

}  // namespace
}  // namespace hadal::engine
