// Training's evaluation and serving are one model: the same bits, at the weights that are shipped.

#include <gtest/gtest.h>

#include "backends/cpu/cpu_backend.h"
#include "formats/presets.h"
#include "formats/random_weights.h"
#include "formats/tensor_table.h"
#include "ops/reference/reference_backend.h"
#include "trained_and_served.h"

namespace hadal::train {
namespace {

/// Every kind of layer; indexers that choose 8 of up to 75 entries.
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

/// Random masters that no code has.
std::unique_ptr<Parameters> random_parameters(const formats::ModelConfig& config, ops::Backend& backend) {
  auto parameters = std::move(*Parameters::create(config, {}, backend));
  const auto table = *formats::TensorTable::make(config, {.kind = formats::DrafterKind::kMtp, .stages = 1},
                                                 {.linear = DType::kF32, .expert = DType::kF32});
  const formats::RandomWeights random(config, 3);
  for (formats::ExpectedTensor tensor : table.tensors) {
    const Parameter& parameter = *parameters->find(tensor.name);
    if (parameter.rule == UpdateRule::kConstant) {
      random.fill(tensor, 0, std::as_writable_bytes(parameters->constants(parameter)));
    } else {
      tensor.type = DType::kF32;
      random.fill(tensor, 0, std::as_writable_bytes(parameters->master(parameter)));
    }
  }
  return parameters;
}

void expect_equal(std::unique_ptr<ops::Backend> backend, std::int64_t chunk) {
  const formats::ModelConfig config = config_of_test();
  auto parameters = random_parameters(config, *backend);
  TrainedAndServed both(std::move(backend), std::move(parameters),
                        {.rows = 800, .sequences = 6, .max_tokens = 300, .chunk = chunk});
  if (::testing::Test::HasFailure()) return;
  std::vector<std::vector<std::int32_t>> sequences;
  for (const std::size_t length : {300, 1, 129, 33, 257, 4}) {
    sequences.push_back(random_tokens(length, config.vocab_size, static_cast<std::uint32_t>(length)));
  }
  both.expect_equal_bits(sequences);
}

TEST(ServedLogits, AreTrainingsToTheBitOnTheCpu) {
  expect_equal(std::move(*cpu::CpuBackend::create(2)), 300);
  expect_equal(std::move(*cpu::CpuBackend::create(2)), 37);
}

TEST(ServedLogits, AreTrainingsToTheBitOnTheReference) { expect_equal(std::make_unique<ops::ReferenceBackend>(), 128); }

}  // namespace
}  // namespace hadal::train
