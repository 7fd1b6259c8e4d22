// The gradient of the whole model against central differences in double (spec/training.md 1.11).

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "formats/random_weights.h"
#include "formats/tensor_table.h"
#include "model/model.h"
#include "ops/reference/reference_backend.h"
#include "testing/gradient_check.h"
#include "train/parameters.h"
#include "train/training_step.h"

namespace hadal::train {
namespace {

/// Every part of V4 at the smallest size at which it does something: a sliding layer, ratio 4 whose indexer chooses,
/// ratio 128 with two blocks; hash and learned routing, four streams, MTP.
formats::ModelConfig small_config() {
  formats::ModelConfig config;
  config.vocab_size = 24;
  config.hidden_size = 16;
  config.num_hidden_layers = 3;
  config.num_attention_heads = 2;
  config.head_dim = 8;
  config.qk_rope_head_dim = 4;
  config.q_lora_rank = 8;
  config.o_groups = 2;
  config.o_lora_rank = 4;
  config.sliding_window = 8;
  config.compress_ratios = {0, 4, 128, 0};
  config.index_n_heads = 2;
  config.index_head_dim = 8;
  config.index_topk = 5;
  config.rope_theta = 10000;
  config.compress_rope_theta = 160000;
  config.rope_scaling = {.factor = 16, .original_max_position_embeddings = 64, .beta_fast = 32, .beta_slow = 1};
  config.max_position_embeddings = 1024;
  config.n_routed_experts = 4;
  config.num_experts_per_tok = 2;
  config.moe_intermediate_size = 8;
  config.routed_scaling_factor = 1.5;
  config.num_hash_layers = 1;
  config.swiglu_limit = 10;
  config.hc_mult = 4;
  config.hc_sinkhorn_iters = 20;
  config.hc_eps = 1e-6;
  config.rms_norm_eps = 1e-6;
  config.num_nextn_predict_layers = 1;
  return config;
}

/// Weights at which no part is idle: larger than a fresh model's, and hyper-connections that mix.
void fill_at_random(const formats::ModelConfig& config, Parameters& parameters) {
  const auto table = formats::TensorTable::make(config, {.kind = formats::DrafterKind::kMtp, .stages = 1},
                                                {.linear = DType::kF32, .expert = DType::kF32});
  ASSERT_TRUE(table) << table.error().message;
  const formats::RandomWeights random(config, 7);
  for (const formats::ExpectedTensor& expected : table->tensors) {
    const Parameter* parameter = parameters.find(expected.name);
    ASSERT_NE(parameter, nullptr) << expected.name;
    formats::ExpectedTensor tensor = expected;
    if (parameter->rule == UpdateRule::kConstant) {
      const auto ids = parameters.constants(*parameter);
      random.fill(tensor, 0, std::as_writable_bytes(ids));
      continue;
    }
    tensor.type = DType::kF32;
    random.fill(tensor, 0, std::as_writable_bytes(parameters.master(*parameter)));
  }
}

struct Rig {
  ops::ReferenceBackend backend;
  ThreadPool pool{1};
  formats::ModelConfig config = small_config();
  std::unique_ptr<Parameters> parameters;
  model::ModelWeights gradients;
  std::unique_ptr<model::Model> model;
  std::unique_ptr<TrainingStep> step;
  std::vector<std::vector<std::int32_t>> tokens;
  std::vector<std::vector<std::uint8_t>> masks;
  std::vector<TrainingSequence> sequences;
  BatchCounts batch;

  explicit Rig(Recompute recompute = Recompute::kNone) { build(recompute); }

  void build(Recompute recompute) {
    auto made = Parameters::create(config, {.working = DType::kF32, .gradient = DType::kF64}, backend);
    ASSERT_TRUE(made) << made.error().message;
    parameters = std::move(*made);
    fill_at_random(config, *parameters);
    parameters->refresh_working(pool, WorkingValues::kRounded);
    const auto profile = model::numerics_profile("exact64");
    auto loaded = model::Model::load(backend, parameters->weights(), config, *profile);
    ASSERT_TRUE(loaded) << loaded.error().message;
    model = std::move(*loaded);
    auto tree = model::ModelWeights::load(parameters->gradients(), config, model->drafter(), backend);
    ASSERT_TRUE(tree) << tree.error().message;
    gradients = std::move(*tree);

    // Lengths that begin, end and cross blocks of 4 and 128.
    std::uint32_t state = 1;
    for (const std::int64_t length : {std::int64_t{137}, std::int64_t{3}, std::int64_t{1}, std::int64_t{22}}) {
      auto& ids = tokens.emplace_back();
      auto& mask = masks.emplace_back();
      for (std::int64_t t = 0; t < length; ++t) {
        state = state * 1664525 + 1013904223;
        ids.push_back(static_cast<std::int32_t>((state >> 16) % 24));
        mask.push_back(state % 5 != 0);
      }
    }
    for (std::size_t s = 0; s < tokens.size(); ++s) {
      sequences.push_back({.tokens = tokens[s], .loss_mask = masks[s]});
    }
    batch = count(sequences);
    auto created = TrainingStep::create(*model, gradients, {.rows = 400, .sequences = 4, .max_tokens = 300}, recompute);
    ASSERT_TRUE(created) << created.error().message;
    step = std::move(*created);
  }

  StepLosses run(const Objective& objective) {
    auto losses = step->run(sequences, batch, objective);
    EXPECT_TRUE(losses) << losses.error().message;
    return *losses;
  }

  /// The objective whose gradient `run` adds, without the indexer's part or with nothing but it.
  double value(const Objective& objective, bool indexer) {
    const StepLosses losses = run(objective);
    if (indexer) return objective.indexer_weight * losses.indexer / static_cast<double>(batch.indexer_rows);
    return losses.next_token / static_cast<double>(batch.loss_tokens) +
           objective.mtp_weight * losses.mtp / static_cast<double>(batch.mtp_tokens) +
           objective.balance_alpha * losses.balance / static_cast<double>(batch.sequences);
  }

  std::vector<double> gradient(const Parameter& parameter) {
    const TensorView view = parameters->gradient_view(parameter);
    std::vector<double> values(static_cast<std::size_t>(parameter.elements()));
    std::memcpy(values.data(), view.bytes(), values.size() * sizeof(double));
    return values;
  }
};

constexpr Objective kSparse{.mtp_weight = 0.3, .indexer_weight = 1, .balance_alpha = 0.05};

/// Compares entries of largest gradient with central differences until one agrees. Where a step flips a choice of
/// experts or entries the function jumps, and the difference says nothing: a few entries may do that.
void check_tensor(Rig& rig, const Objective& objective, const Parameter& parameter,
                  const std::vector<double>& gradient) {
  constexpr std::size_t kEntries = 5;
  constexpr double kTolerance = 1e-5;  // of differences between float32 weights
  const auto master = rig.parameters->master(parameter);
  std::vector<std::size_t> order(gradient.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const std::size_t entries = std::min(kEntries, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(entries), order.end(),
                    [&](std::size_t a, std::size_t b) { return std::abs(gradient[a]) > std::abs(gradient[b]); });
  double best = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < entries && !(best <= kTolerance); ++i) {
    const std::size_t index = order[i];
    const float before = master[index];
    const auto loss = [&](const std::vector<double>& values) {
      master[index] = static_cast<float>(values.front());
      rig.parameters->refresh_working(rig.pool, WorkingValues::kRounded);
      return rig.value(objective, parameter.indexer);
    };
    const double error = testing::gradient_error({.name = parameter.name,
                                                  .type = DType::kF32,
                                                  .values = {before},
                                                  .gradient = {gradient[index]},
                                                  .loss = loss,
                                                  .step = 0x1p-20,
                                                  .samples = 1});
    best = std::min(best, error);
    master[index] = before;
  }
  fmt::print("[ gradient ] {}: relative error {:.1e}\n", parameter.name, best);
  EXPECT_LE(best, kTolerance) << parameter.name;
}

/// Checks every tensor that `wanted` accepts.
void check_gradients(Rig& rig, const Objective& objective, auto&& wanted) {
  rig.parameters->zero_gradients(rig.pool);
  rig.run(objective);
  std::vector<std::pair<const Parameter*, std::vector<double>>> claimed;
  for (const Parameter& parameter : rig.parameters->tensors()) {
    if (parameter.rule == UpdateRule::kConstant || parameter.rule == UpdateRule::kBalanceBias) continue;
    if (wanted(parameter)) claimed.emplace_back(&parameter, rig.gradient(parameter));
  }
  ASSERT_FALSE(claimed.empty());
  for (const auto& [parameter, gradient] : claimed) check_tensor(rig, objective, *parameter, gradient);
  rig.parameters->refresh_working(rig.pool, WorkingValues::kRounded);
}

TEST(ModelGradient, SparseStageEveryTensorOfTheLayers) {
  Rig rig;
  check_gradients(rig, kSparse, [](const Parameter& parameter) {
    // One routed expert stands for all of its layer.
    return parameter.name.find("experts.1.") != std::string::npos ||
           parameter.name.find("ffn.experts.") == std::string::npos;
  });
}

TEST(ModelGradient, DenseStageAttentionAndIndexer) {
  Rig rig;
  Objective dense = kSparse;
  dense.attend_all_entries = true;
  check_gradients(rig, dense, [](const Parameter& parameter) {
    return parameter.name.starts_with("layers.1.attn.") || parameter.name == "embed.weight";
  });
}

TEST(ModelGradient, IndexerAndModelLearnApart) {
  Rig rig;
  Objective alone{.mtp_weight = 0, .indexer_weight = 1, .balance_alpha = 0};
  rig.parameters->zero_gradients(rig.pool);
  rig.run(alone);
  std::map<std::string, std::vector<double>> with;
  for (const Parameter& parameter : rig.parameters->tensors()) {
    if (parameter.rule != UpdateRule::kConstant && parameter.rule != UpdateRule::kBalanceBias) {
      with[parameter.name] = rig.gradient(parameter);
    }
  }
  alone.indexer_weight = 0;
  rig.parameters->zero_gradients(rig.pool);
  rig.run(alone);
  for (const auto& [name, gradient] : with) {
    const Parameter& parameter = *rig.parameters->find(name);
    const std::vector<double> without = rig.gradient(parameter);
    const bool zero = std::all_of(without.begin(), without.end(), [](double g) { return g == 0; });
    if (parameter.indexer) {
      EXPECT_TRUE(zero) << name << " learns from the language model";
      EXPECT_FALSE(std::all_of(gradient.begin(), gradient.end(), [](double g) { return g == 0; })) << name;
    } else {
      EXPECT_EQ(gradient, without) << name << " learns from the indexer's objective";
    }
  }
}

TEST(ModelGradient, RecomputedLayersGiveTheSameBits) {
  Rig kept(Recompute::kNone);
  Rig again(Recompute::kLayer);
  const StepLosses a = kept.run(kSparse);
  const StepLosses b = again.run(kSparse);
  EXPECT_EQ(a.next_token, b.next_token);
  EXPECT_EQ(a.indexer, b.indexer);
  EXPECT_EQ(a.expert_load, b.expert_load);
  for (const Parameter& parameter : kept.parameters->tensors()) {
    if (parameter.rule == UpdateRule::kConstant || parameter.rule == UpdateRule::kBalanceBias) continue;
    EXPECT_EQ(kept.gradient(parameter), again.gradient(parameter)) << parameter.name;
  }
  EXPECT_LT(again.step->bytes(), kept.step->bytes());
}

TEST(ModelGradient, MicroBatchesAddUp) {
  Rig whole;
  Rig split;
  const StepLosses all = whole.run(kSparse);
  StepLosses sum;
  for (const TrainingSequence& sequence : split.sequences) {
    auto losses = split.step->run({&sequence, 1}, split.batch, kSparse);
    ASSERT_TRUE(losses) << losses.error().message;
    sum += *losses;
  }
  EXPECT_NEAR(sum.next_token, all.next_token, 1e-9 * all.next_token);
  EXPECT_EQ(sum.expert_load, all.expert_load);
  EXPECT_EQ(sum.counts.loss_tokens, all.counts.loss_tokens);
  for (const Parameter& parameter : whole.parameters->tensors()) {
    if (parameter.rule == UpdateRule::kConstant || parameter.rule == UpdateRule::kBalanceBias) continue;
    const std::vector<double> a = whole.gradient(parameter);
    const std::vector<double> b = split.gradient(parameter);
    double largest = 0;
    double apart = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      largest = std::max(largest, std::abs(a[i]));
      apart = std::max(apart, std::abs(a[i] - b[i]));
    }
    EXPECT_LE(apart, 1e-10 * largest) << parameter.name;
  }
}

}  // namespace
}  // namespace hadal::train
