#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <span>

#include "base/philox.h"
#include "formats/presets.h"
#include "ops/backend.h"
#include "train/parameters.h"

namespace hadal::train {

/// A model small enough that a step on the reference backend takes a moment.
inline formats::ModelConfig small_config() {
  formats::ModelConfig config = *formats::preset("tiny");
  config.vocab_size = 64;
  config.hidden_size = 64;
  config.num_hidden_layers = 2;
  config.compress_ratios = {0, 4};
  config.num_hash_layers = 1;
  config.num_attention_heads = 2;
  config.head_dim = 48;
  config.q_lora_rank = 32;
  config.o_lora_rank = 32;
  config.index_n_heads = 2;
  config.index_head_dim = 32;
  config.n_routed_experts = 2;
  config.num_experts_per_tok = 1;
  config.moe_intermediate_size = 32;
  config.qk_rope_head_dim = 16;
  config.num_nextn_predict_layers = 0;
  return config;
}

inline std::unique_ptr<Parameters> make_small(ops::Backend& backend) {
  auto made = Parameters::create(small_config(), {}, backend);
  EXPECT_TRUE(made.has_value()) << made.error().message;
  return std::move(*made);
}

/// Sums of four uniforms, nearly normal with deviation 0.58.
inline void fill_random(std::span<float> values, std::uint32_t seed) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto bits = philox({static_cast<std::uint32_t>(i), 0, 0, 0}, {seed, 1});
    values[i] = 0;
    for (const std::uint32_t word : bits) values[i] += static_cast<float>(word) * 0x1p-32F - 0.5F;
  }
}

}  // namespace hadal::train
