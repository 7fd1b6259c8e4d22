// The training step on the CPU backend: equal to the reference in `exact`, and the same bits for any number of threads.

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "formats/presets.h"
#include "formats/random_weights.h"
#include "formats/tensor_table.h"
#include "model/model.h"
#include "ops/reference/reference_backend.h"
#include "train/parameters.h"
#include "train/training_step.h"

namespace hadal::train {
namespace {

/// The preset of tests with fewer heads and layers, so that the reference is quick.
formats::ModelConfig config_of_test() {
  formats::ModelConfig config = *formats::preset("tiny");
  config.num_hidden_layers = 4;
  config.compress_ratios = {0, 4, 128, 4, 0};
  config.hidden_size = 128;
  config.num_attention_heads = 4;
  config.vocab_size = 256;
  config.index_topk = 8;
  config.num_hash_layers = 1;
  config.sliding_window = 32;
  return config;
}

class Rig {
 public:
  Rig(std::unique_ptr<ops::Backend> backend, const std::string& numerics, DType working,
      const formats::ModelConfig& config = config_of_test())
      : backend_(std::move(backend)) {
    parameters_ = std::move(*Parameters::create(config, {.working = working, .gradient = DType::kF32}, *backend_));
    const formats::DrafterShape drafter = config.num_nextn_predict_layers > 0
                                              ? formats::DrafterShape{.kind = formats::DrafterKind::kMtp, .stages = 1}
                                              : formats::DrafterShape{};
    const auto table = *formats::TensorTable::make(config, drafter, {.linear = DType::kF32, .expert = DType::kF32});
    const formats::RandomWeights random(config, 3);
    for (formats::ExpectedTensor tensor : table.tensors) {
      const Parameter& parameter = *parameters_->find(tensor.name);
      if (parameter.rule == UpdateRule::kConstant) {
        random.fill(tensor, 0, std::as_writable_bytes(parameters_->constants(parameter)));
      } else {
        tensor.type = DType::kF32;
        random.fill(tensor, 0, std::as_writable_bytes(parameters_->master(parameter)));
      }
    }
    ThreadPool pool(1);
    parameters_->refresh_working(pool, WorkingValues::kRounded);
    auto model = model::Model::load(*backend_, parameters_->weights(), config, *model::numerics_profile(numerics));
    EXPECT_TRUE(model) << model.error().message;
    model_ = std::move(*model);
    gradients_ = *model::ModelWeights::load(parameters_->gradients(), config, model_->drafter(), *backend_);
    std::uint32_t state = 9;
    for (const std::size_t length : {std::size_t{150}, std::size_t{5}, std::size_t{61}}) {
      auto& ids = tokens_.emplace_back();
      for (std::size_t t = 0; t < length; ++t) {
        state = state * 1664525 + 1013904223;
        ids.push_back(static_cast<std::int32_t>((state >> 16) % 256));
      }
      masks_.emplace_back(length, 1);
    }
    for (std::size_t s = 0; s < tokens_.size(); ++s) {
      sequences_.push_back({.tokens = tokens_[s], .loss_mask = masks_[s]});
    }
    auto step =
        TrainingStep::create(*model_, gradients_, {.rows = 256, .sequences = 4, .max_tokens = 160}, Recompute::kNone);
    EXPECT_TRUE(step) << step.error().message;
    step_ = std::move(*step);
  }

  StepLosses run() {
    auto losses = step_->run(sequences_, count(sequences_), {});
    EXPECT_TRUE(losses) << losses.error().message;
    return *losses;
  }
  [[nodiscard]] Parameters& parameters() { return *parameters_; }

 private:
  std::unique_ptr<ops::Backend> backend_;
  std::unique_ptr<Parameters> parameters_;
  std::unique_ptr<model::Model> model_;
  model::ModelWeights gradients_;
  std::unique_ptr<TrainingStep> step_;
  std::vector<std::vector<std::int32_t>> tokens_;
  std::vector<std::vector<std::uint8_t>> masks_;
  std::vector<TrainingSequence> sequences_;
};

std::unique_ptr<ops::Backend> cpu_of(int threads) { return std::move(*cpu::CpuBackend::create(threads)); }

double rms(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * value;
  return std::sqrt(sum / static_cast<double>(values.size()));
}

/// Root of the mean square of a - b.
double distance(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    sum += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
  }
  return std::sqrt(sum / static_cast<double>(a.size()));
}

bool has_gradient(const Parameter& parameter) {
  return parameter.rule != UpdateRule::kConstant && parameter.rule != UpdateRule::kBalanceBias;
}

void expect_the_references_gradient(const formats::ModelConfig& config) {
  Rig judge(std::make_unique<ops::ReferenceBackend>(), "exact", DType::kF32, config);
  Rig fast(cpu_of(2), "exact", DType::kF32, config);
  const StepLosses expected = judge.run();
  const StepLosses actual = fast.run();
  ASSERT_EQ(actual.expert_load, expected.expert_load);
  EXPECT_NEAR(actual.next_token, expected.next_token, 1e-5 * expected.next_token);
  EXPECT_NEAR(actual.mtp, expected.mtp, 1e-5 * expected.mtp);
  EXPECT_NEAR(actual.indexer, expected.indexer, 1e-4 * expected.indexer);
  // Gradients that are zero but for rounding (the gate of a single expert) are compared with the size of all others.
  const double all = rms(judge.parameters().gradient());
  for (const Parameter& parameter : judge.parameters().tensors()) {
    if (!has_gradient(parameter)) continue;
    const auto gradient = judge.parameters().gradient(parameter);
    EXPECT_LT(distance(fast.parameters().gradient(parameter), gradient), 1e-3 * rms(gradient) + 5e-6 * all)
        << parameter.name;
  }
}

TEST(TrainingStep, CpuGivesTheReferencesGradientInExact) { expect_the_references_gradient(config_of_test()); }

/// The configuration without a part of V4, as docs/training.md says how to switch it off.
struct Without {
  std::string part;
  void (*change)(formats::ModelConfig&);
};

const Without kAblations[] = {
    {"HyperConnections", [](formats::ModelConfig& config) { config.hc_mult = 1; }},
    {"Compression",
     [](formats::ModelConfig& config) {
       config.compress_ratios = {0, 0, 0, 0, 0};
       config.sliding_window = 160;
     }},
    {"Indexer", [](formats::ModelConfig& config) { config.index_topk = 64; }},
    {"Mtp",
     [](formats::ModelConfig& config) {
       config.num_nextn_predict_layers = 0;
       config.compress_ratios.pop_back();
     }},
    {"Routing",
     [](formats::ModelConfig& config) {
       config.num_hash_layers = 0;
       config.n_routed_experts = 1;
       config.num_experts_per_tok = 1;
     }},
};

class Ablation : public testing::TestWithParam<Without> {};

TEST_P(Ablation, TrainsLikeTheWholeModel) {
  formats::ModelConfig config = config_of_test();
  GetParam().change(config);
  expect_the_references_gradient(config);
}

INSTANTIATE_TEST_SUITE_P(Parts, Ablation, testing::ValuesIn(kAblations),
                         [](const testing::TestParamInfo<Without>& parameter) { return parameter.param.part; });

TEST(TrainingStep, ThreadsChangeNoBit) {
  Rig one(cpu_of(1), "bf16_plain", DType::kBf16);
  Rig two(cpu_of(2), "bf16_plain", DType::kBf16);
  const StepLosses a = one.run();
  const StepLosses b = two.run();
  EXPECT_EQ(a.next_token, b.next_token);
  EXPECT_EQ(a.mtp, b.mtp);
  EXPECT_EQ(a.indexer, b.indexer);
  const auto left = one.parameters().gradient();
  const auto right = two.parameters().gradient();
  EXPECT_EQ(std::memcmp(left.data(), right.data(), left.size_bytes()), 0);
}

TEST(TrainingStep, Bf16IsNearExact) {
  Rig exact(cpu_of(2), "exact", DType::kF32);
  Rig rounded(cpu_of(2), "bf16_plain", DType::kBf16);
  const StepLosses a = exact.run();
  const StepLosses b = rounded.run();
  EXPECT_NEAR(b.next_token, a.next_token, 0.02 * a.next_token);
  EXPECT_NEAR(b.mtp, a.mtp, 0.02 * a.mtp);
}

}  // namespace
}  // namespace hadal::train
