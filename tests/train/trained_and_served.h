#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <numeric>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/philox.h"
#include "formats/checkpoint.h"
#include "model/executor.h"
#include "quant/export.h"
#include "testing/memory_source.h"
#include "testing/temp_directory.h"
#include "train/parameters.h"
#include "train/training_step.h"

namespace hadal::train {

/// One model twice, in the profile of training: as training evaluates it at quantised weights (working copies with the
/// values of codes), and as it is served from the FP8 and FP4 codes of its exported checkpoint.
class TrainedAndServed {
 public:
  struct Limits {
    std::int64_t rows = 0;        // of a micro-batch
    std::int64_t sequences = 0;   // in it
    std::int64_t max_tokens = 0;  // of a sequence
    std::int64_t chunk = 0;       // tokens of a serving step
  };

  TrainedAndServed(std::unique_ptr<ops::Backend> backend, std::unique_ptr<Parameters> parameters, const Limits& limits)
      : backend_(std::move(backend)), parameters_(std::move(parameters)), chunk_(limits.chunk) {
    const auto profile = *model::numerics_profile("bf16");
    const formats::ModelConfig& config = parameters_->config();
    testing_support::MemorySource masters;
    add_masters(masters);
    value_of(quant::export_model(masters, config, {.directory = folder_ / "exported"}));
    exported_ = value_of(formats::Checkpoint::open(folder_ / "exported"));
    served_ = value_of(model::Model::load(*backend_, *exported_, exported_->config(), profile));
    const std::int64_t pages = (limits.max_tokens + ops::kPageTokens - 1) / ops::kPageTokens;
    pool_ = value_of(model::StatePool::create(*backend_, served_->state_layout(), 1, pages));
    executor_ = value_of(model::Executor::create(
        *served_, *pool_,
        {.max_rows = chunk_, .max_sequences = 1, .max_logits_rows = chunk_, .max_tokens = limits.max_tokens}));

    ThreadPool threads(1);
    parameters_->refresh_working(threads, WorkingValues::kQuantized);
    trained_ = value_of(model::Model::load(*backend_, parameters_->weights(), config, profile));
    gradients_ = value_of(model::ModelWeights::load(parameters_->gradients(), config, trained_->drafter(), *backend_));
    step_ = value_of(TrainingStep::create(
        *trained_, gradients_, {.rows = limits.rows, .sequences = limits.sequences, .max_tokens = limits.max_tokens},
        Recompute::kNone));
  }

  /// One micro-batch against each sequence by itself in chunks: every logit has the same bits.
  void expect_equal_bits(std::span<const std::vector<std::int32_t>> sequences) {
    std::vector<std::vector<std::uint8_t>> masks;
    masks.reserve(sequences.size());
    std::vector<TrainingSequence> batch;
    for (const auto& tokens : sequences) {
      masks.emplace_back(tokens.size(), 1);
      batch.push_back({.tokens = tokens, .loss_mask = masks.back()});
    }
    // Backends whose weights training changes in place have host memory and run an operator when it is enqueued.
    std::vector<float> trained;
    const model::ActivationTap keep = [&](std::string_view name, std::int64_t, const TensorView& view) {
      if (name != "logits") return;
      const std::size_t before = trained.size();
      trained.resize(before + static_cast<std::size_t>(view.elements()));
      std::memcpy(trained.data() + before, view.bytes(), static_cast<std::size_t>(view.byte_size()));
    };
    const auto losses = step_->evaluate(batch, {.mtp_weight = 0}, &keep);
    ASSERT_TRUE(losses) << losses.error().message;

    double nats = 0;
    std::span<const float> rest = trained;
    for (std::size_t s = 0; s < sequences.size(); ++s) {
      SCOPED_TRACE(::testing::Message() << "sequence " << s << " of " << sequences[s].size() << " tokens");
      const std::size_t size = sequences[s].size() * static_cast<std::size_t>(vocab());
      ASSERT_GE(rest.size(), size);
      expect_served(sequences[s], rest.first(size), nats);
      rest = rest.subspan(size);
    }
    EXPECT_TRUE(rest.empty());
    EXPECT_NEAR(losses->next_token, nats, 1e-5 * nats);
  }

 private:
  template <class T>
  static T value_of(Result<T> result) {
    EXPECT_TRUE(result) << result.error().message;
    return std::move(*result);
  }

  [[nodiscard]] std::int64_t vocab() const { return parameters_->config().vocab_size; }

  /// Masters and constants as a checkpoint.
  void add_masters(testing_support::MemorySource& source) {
    for (const Parameter& tensor : parameters_->tensors()) {
      const bool constant = tensor.rule == UpdateRule::kConstant;
      const auto bytes =
          constant ? std::as_bytes(parameters_->constants(tensor)) : std::as_bytes(parameters_->master(tensor));
      source.items[tensor.name] = {constant ? DType::kI64 : DType::kF32, tensor.shape, {bytes.begin(), bytes.end()}};
    }
  }

  /// Adds the loss of the sequence, in double, to `nats`.
  void expect_served(std::span<const std::int32_t> ids, std::span<const float> expected, double& nats) {
    const std::vector<std::int64_t> tokens(ids.begin(), ids.end());
    const auto count = static_cast<std::int64_t>(tokens.size());
    const auto width = static_cast<std::size_t>(vocab());
    model::SequenceState state = value_of(pool_->new_sequence());
    std::vector<float> logits;
    std::int64_t different = 0;
    for (std::int64_t begin = 0; begin < count; begin += chunk_) {
      const std::int64_t rows = std::min(chunk_, count - begin);
      std::vector<std::int32_t> all(static_cast<std::size_t>(rows));
      std::iota(all.begin(), all.end(), 0);
      const model::StepSequence sequence{
          .state = &state,
          .tokens = std::span(tokens).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(rows))};
      ASSERT_TRUE(executor_->forward({.sequences = {&sequence, 1}, .logits_rows = all}));
      logits.resize(all.size() * width);
      ASSERT_TRUE(executor_->read(executor_->logits(), logits));
      ASSERT_TRUE(executor_->commit({&rows, 1}));
      for (std::int64_t row = 0; row < rows; ++row) {
        const auto served = std::span<const float>(logits).subspan(static_cast<std::size_t>(row) * width, width);
        const auto trained = expected.subspan(static_cast<std::size_t>(begin + row) * width, width);
        different += std::memcmp(served.data(), trained.data(), served.size_bytes()) == 0 ? 0 : 1;
        if (begin + row + 1 < count) nats += loss(served, tokens[static_cast<std::size_t>(begin + row + 1)]);
      }
    }
    EXPECT_EQ(different, 0) << "rows of logits";
  }

  static double loss(std::span<const float> logits, std::int64_t target) {
    const double most = *std::max_element(logits.begin(), logits.end());
    double total = 0;
    for (const float logit : logits) total += std::exp(logit - most);
    return std::log(total) + most - logits[static_cast<std::size_t>(target)];
  }

  testing_support::TempDirectory folder_;
  std::unique_ptr<ops::Backend> backend_;
  std::unique_ptr<Parameters> parameters_;
  std::int64_t chunk_;
  std::unique_ptr<formats::Checkpoint> exported_;
  std::unique_ptr<model::Model> served_, trained_;
  std::unique_ptr<model::StatePool> pool_;
  std::unique_ptr<model::Executor> executor_;
  model::ModelWeights gradients_;
  std::unique_ptr<TrainingStep> step_;
};

/// `length` tokens below `vocab`, a function of the seed.
inline std::vector<std::int32_t> random_tokens(std::size_t length, std::int64_t vocab, std::uint32_t seed) {
  std::vector<std::int32_t> tokens(length);
  for (std::size_t t = 0; t < length; ++t) {
    const auto word = philox({static_cast<std::uint32_t>(t), 0, 0, 0}, {seed, 7})[0];
    tokens[t] = static_cast<std::int32_t>(word % static_cast<std::uint32_t>(vocab));
  }
  return tokens;
}

}  // namespace hadal::train
