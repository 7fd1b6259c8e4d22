#include "train/parameters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "base/thread_pool.h"
#include "formats/presets.h"
#include "model/model.h"
#include "model/numerics.h"
#include "ops/reference/reference_backend.h"
#include "quant/block_codes.h"
#include "train/initialization.h"

namespace hadal::train {
namespace {

using ::testing::ElementsAre;

std::unique_ptr<Parameters> make(ops::Backend& backend, const Parameters::Options& options = {}) {
  formats::ModelConfig config = *formats::preset("tiny");
  config.moe_intermediate_size = 32;
  auto made = Parameters::create(config, options, backend);
  EXPECT_TRUE(made.has_value()) << made.error().message;
  return std::move(*made);
}

std::vector<std::pair<std::int64_t, std::int64_t>> rows_of(const Parameters& parameters, std::string_view name) {
  std::vector<std::pair<std::int64_t, std::int64_t>> rows;
  for (const MatrixRows& matrix : parameters.find(name)->matrices) rows.emplace_back(matrix.first, matrix.count);
  return rows;
}

TEST(Parameters, GroupsFollowTheTable) {
  ops::ReferenceBackend backend;
  const auto parameters = make(backend);
  const auto rule = [&](std::string_view name) { return parameters->find(name)->rule; };
  EXPECT_EQ(rule("embed.weight"), UpdateRule::kAdamDecay);
  EXPECT_EQ(rule("head.weight"), UpdateRule::kAdamDecay);
  EXPECT_EQ(rule("norm.weight"), UpdateRule::kAdam);
  EXPECT_EQ(rule("layers.2.attn.compressor.norm.weight"), UpdateRule::kAdam);
  EXPECT_EQ(rule("layers.2.attn.compressor.ape"), UpdateRule::kAdam);
  EXPECT_EQ(rule("layers.2.attn.attn_sink"), UpdateRule::kAdam);
  EXPECT_EQ(rule("layers.2.hc_attn_base"), UpdateRule::kAdam);
  EXPECT_EQ(rule("layers.2.hc_attn_scale"), UpdateRule::kAdam);
  EXPECT_EQ(rule("hc_head_fn"), UpdateRule::kMuon);
  EXPECT_EQ(rule("layers.2.ffn.gate.weight"), UpdateRule::kMuon);
  EXPECT_EQ(rule("layers.2.ffn.gate.tid2eid"), UpdateRule::kConstant);
  EXPECT_EQ(rule("layers.3.ffn.gate.bias"), UpdateRule::kBalanceBias);
  EXPECT_EQ(rule("mtp.0.e_proj.weight"), UpdateRule::kMuon);
  EXPECT_TRUE(parameters->find("layers.2.attn.indexer.compressor.ape")->indexer);
  EXPECT_FALSE(parameters->find("layers.2.attn.compressor.ape")->indexer);
  EXPECT_EQ(parameters->find("layers.2.attn.nothing"), nullptr);
}

TEST(Parameters, MatricesAreSplitAsTheyAreIndependent) {
  ops::ReferenceBackend backend;
  const auto parameters = make(backend);  // head_dim 96, index_head_dim 64, o_groups 2, o_lora_rank 128, hc_mult 4
  EXPECT_THAT(rows_of(*parameters, "layers.0.attn.wo_a.weight"), ElementsAre(std::pair{0, 128}, std::pair{128, 128}));
  EXPECT_THAT(rows_of(*parameters, "layers.2.attn.compressor.wkv.weight"),
              ElementsAre(std::pair{0, 96}, std::pair{96, 96}));
  EXPECT_THAT(rows_of(*parameters, "layers.3.attn.compressor.wgate.weight"), ElementsAre(std::pair{0, 96}));
  EXPECT_THAT(rows_of(*parameters, "layers.2.attn.indexer.compressor.wgate.weight"),
              ElementsAre(std::pair{0, 64}, std::pair{64, 64}));
  EXPECT_THAT(rows_of(*parameters, "layers.0.hc_ffn_fn"),
              ElementsAre(std::pair{0, 4}, std::pair{4, 4}, std::pair{8, 16}));
  EXPECT_THAT(rows_of(*parameters, "hc_head_fn"), ElementsAre(std::pair{0, 4}));
  EXPECT_THAT(rows_of(*parameters, "layers.0.attn.wq_b.weight"), ElementsAre(std::pair{0, 768}));
}

TEST(Parameters, InitialValuesHaveTheirDistributions) {
  ops::ReferenceBackend backend;
  const auto parameters = make(backend);
  ThreadPool pool(2);
  initialize(*parameters, 7, {}, pool);
  const auto moments = [&](std::string_view name) {
    double sum = 0;
    double squares = 0;
    const auto values = parameters->master(*parameters->find(name));
    for (const float value : values) {
      sum += value;
      squares += double{value} * value;
    }
    const auto count = static_cast<double>(values.size());
    return std::pair{sum / count, std::sqrt(squares / count)};
  };
  // 98,304 numbers: the mean is within 4 / sqrt(98304) deviations, the deviation within 4 / sqrt(2 * 98304) of itself.
  const auto [mean, deviation] = moments("layers.0.attn.wq_b.weight");
  EXPECT_NEAR(mean, 0, 0.02 * 0.0128);
  EXPECT_NEAR(deviation, 0.02, 0.02 * 0.0091);
  const auto [mean_down, deviation_down] = moments("layers.1.ffn.experts.5.w2.weight");
  EXPECT_NEAR(mean_down, 0, 0.02 / std::sqrt(12.0) * 0.0442);
  EXPECT_NEAR(deviation_down, 0.02 / std::sqrt(12.0), 0.02 / std::sqrt(12.0) * 0.0313);
  for (const float value : parameters->master(*parameters->find("layers.0.attn.kv_norm.weight"))) EXPECT_EQ(value, 1);
  for (const float value : parameters->master(*parameters->find("layers.2.attn.compressor.ape"))) EXPECT_EQ(value, 0);
  const auto base = parameters->master(*parameters->find("layers.0.hc_attn_base"));
  for (std::size_t i = 0; i < base.size(); ++i) {
    const float expected = i < 4 ? -1.0986123F : i < 8 ? 0 : (i - 8) / 4 == (i - 8) % 4 ? 4 : 0;
    EXPECT_NEAR(base[i], expected, 0.1) << i;
    EXPECT_NE(base[i], expected) << i;  // the noise is there
  }
  EXPECT_THAT(parameters->master(*parameters->find("layers.0.hc_attn_scale")), ElementsAre(0.01F, 0.01F, 0.01F));
}

TEST(Parameters, InitialValuesDependOnSeedAndNameAlone) {
  ops::ReferenceBackend backend;
  const auto first = make(backend);
  const auto second = make(backend);
  ThreadPool one(1);
  ThreadPool two(2);
  initialize(*first, 7, {}, one);
  initialize(*second, 7, {}, two);
  EXPECT_TRUE(std::equal(first->master().begin(), first->master().end(), second->master().begin()));
  const auto w1 = first->master(*first->find("layers.0.ffn.experts.0.w1.weight"));
  const auto w3 = first->master(*first->find("layers.0.ffn.experts.0.w3.weight"));
  EXPECT_FALSE(std::equal(w1.begin(), w1.end(), w3.begin()));
  initialize(*second, 8, {}, two);
  const auto other = second->master(*second->find("layers.0.ffn.experts.0.w1.weight"));
  EXPECT_FALSE(std::equal(w1.begin(), w1.end(), other.begin()));
}

TEST(Parameters, HashRoutingSharesTheTextOut) {
  ops::ReferenceBackend backend;
  const auto parameters = make(backend);
  ThreadPool pool(1);
  std::vector<std::int64_t> counts(384);
  for (std::size_t token = 0; token < counts.size(); ++token) {
    counts[token] = 100000 / (1 + static_cast<std::int64_t>(token * 37 % 384));
  }
  initialize(*parameters, 7, counts, pool);
  std::int64_t total = 0;
  for (const char* name : {"layers.0.ffn.gate.tid2eid", "layers.1.ffn.gate.tid2eid"}) {
    const auto table = parameters->constants(*parameters->find(name));
    std::vector<std::int64_t> loads(6);
    for (std::size_t token = 0; token < counts.size(); ++token) {
      const std::set<std::int64_t> experts(table.begin() + static_cast<std::ptrdiff_t>(3 * token),
                                           table.begin() + static_cast<std::ptrdiff_t>(3 * token + 3));
      EXPECT_EQ(experts.size(), 3U);
      for (const std::int64_t expert : experts) loads[static_cast<std::size_t>(expert)] += counts[token];
      total += counts[token];
    }
    const auto [least, most] = std::minmax_element(loads.begin(), loads.end());
    EXPECT_LT(static_cast<double>(*most - *least), 0.01 * static_cast<double>(*most));
  }
  const auto first = parameters->constants(*parameters->find("layers.0.ffn.gate.tid2eid"));
  const auto second = parameters->constants(*parameters->find("layers.1.ffn.gate.tid2eid"));
  EXPECT_FALSE(std::equal(first.begin(), first.end(), second.begin()));
}

TEST(Parameters, ModelLoadsWeightsAndGradients) {
  ops::ReferenceBackend backend;
  for (const auto& [working, gradient] : {std::pair{DType::kBf16, DType::kF32}, std::pair{DType::kF32, DType::kF64}}) {
    const auto parameters = make(backend, {.working = working, .gradient = gradient});
    const auto profile = model::numerics_profile("exact");
    ASSERT_TRUE(profile.has_value());
    const auto loaded = model::Model::load(backend, parameters->weights(), parameters->config(), *profile);
    ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
    EXPECT_THAT((*loaded)->warnings(), ElementsAre());
    const formats::DrafterShape drafter = (*loaded)->drafter();
    EXPECT_EQ(drafter.kind, formats::DrafterKind::kMtp);
    const auto tree = model::ModelWeights::load(parameters->gradients(), parameters->config(), drafter, backend);
    ASSERT_TRUE(tree.has_value()) << tree.error().message;
    const TensorView& view = tree->layers[2].attention.indexer.compressor.wgate.codes;
    EXPECT_EQ(view.type(), gradient);
    EXPECT_EQ(view.shape(), (*loaded)->weights().layers[2].attention.indexer.compressor.wgate.codes.shape());
    EXPECT_EQ(view.bytes(),
              parameters->gradient_view(*parameters->find("layers.2.attn.indexer.compressor.wgate.weight")).bytes());
    // The drafter's embedding gradient is the main one: both add into the same place.
    EXPECT_EQ(tree->drafter.embed.codes.bytes(), tree->embed.codes.bytes());
  }
}

TEST(Parameters, WorkingCopiesFollowTheMaster) {
  ops::ReferenceBackend backend;
  const auto parameters = make(backend);
  ThreadPool pool(2);
  initialize(*parameters, 7, {}, pool);
  const auto working = [&](std::string_view name, std::int64_t i) {
    const auto found = parameters->weights().tensor(name);
    return load<float>(TensorView(const_cast<std::byte*>(found->data), found->type, found->shape), i);
  };
  const auto check = [&](std::string_view name, std::span<const float> expected) {
    for (std::size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(working(name, static_cast<std::int64_t>(i)), to_f32(to_bf16(expected[i]))) << name << " " << i;
    }
  };
  const auto master = [&](std::string_view name) { return parameters->master(*parameters->find(name)); };

  parameters->refresh_working(pool, WorkingValues::kRounded);
  check("layers.0.attn.wq_b.weight", master("layers.0.attn.wq_b.weight"));
  check("layers.5.ffn.experts.2.w2.weight", master("layers.5.ffn.experts.2.w2.weight"));
  EXPECT_EQ(working("layers.0.hc_attn_base", 0), master("layers.0.hc_attn_base")[0]);  // F32 as it is

  parameters->refresh_working(pool, WorkingValues::kQuantized);
  const auto quantized = [&](std::string_view name, quant::CodeFormat format) {
    const Parameter& tensor = *parameters->find(name);
    std::vector<float> values(master(name).size());
    quant::round_to_codes(master(name), {tensor.shape[0], tensor.shape[1]}, format, values);
    for (const float value : values) EXPECT_EQ(to_f32(to_bf16(value)), value);  // exact in bf16
    return values;
  };
  check("layers.0.attn.wq_b.weight", quantized("layers.0.attn.wq_b.weight", quant::CodeFormat::kFp8Tile128));
  check("layers.5.ffn.experts.2.w2.weight",
        quantized("layers.5.ffn.experts.2.w2.weight", quant::CodeFormat::kFp4Block32));
  check("layers.2.attn.compressor.wkv.weight", master("layers.2.attn.compressor.wkv.weight"));
  EXPECT_NE(working("layers.0.attn.wq_b.weight", 0), to_f32(to_bf16(master("layers.0.attn.wq_b.weight")[0])));
}

TEST(Parameters, GradientsAreCleared) {
  ops::ReferenceBackend backend;
  const auto parameters = make(backend);
  ThreadPool pool(2);
  for (float& value : parameters->gradient()) value = 3;
  parameters->zero_gradients(pool);
  for (const float value : parameters->gradient()) ASSERT_EQ(value, 0);
}

TEST(Parameters, MastersComeBackFromACheckpoint) {
  ops::ReferenceBackend backend;
  const auto first = make(backend, {.working = DType::kF32});
  const auto second = make(backend);
  ThreadPool pool(1);
  initialize(*first, 7, {}, pool);
  first->refresh_working(pool, WorkingValues::kRounded);
  const auto status = second->load_master(first->weights());
  ASSERT_TRUE(status.has_value()) << status.error().message;
  EXPECT_TRUE(std::equal(first->master().begin(), first->master().end(), second->master().begin()));
  const auto table = first->constants(*first->find("layers.0.ffn.gate.tid2eid"));
  const auto copy = second->constants(*second->find("layers.0.ffn.gate.tid2eid"));
  EXPECT_TRUE(std::equal(table.begin(), table.end(), copy.begin()));
}

TEST(Parameters, RefusesADSparkDrafter) {
  ops::ReferenceBackend backend;
  const auto config = formats::with_drafter(*formats::preset("tiny"), formats::DrafterFields::kDSpark);
  const auto made = Parameters::create(config, {}, backend);
  ASSERT_FALSE(made.has_value());
  EXPECT_EQ(made.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(made.error().message, ::testing::HasSubstr("DSpark"));
}

}  // namespace
}  // namespace hadal::train
