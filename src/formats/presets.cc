#include "formats/presets.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <utility>

namespace hadal::formats {
namespace {

/// What Flash and Pro share: the alternation of ratios 4 and 128 begins after two layers and ends on 4.
ModelConfig common(std::int64_t layers, std::int64_t first_ratio) {
  ModelConfig config;
  config.vocab_size = 129280;
  config.num_hidden_layers = layers;
  config.head_dim = 512;
  config.qk_rope_head_dim = 64;
  config.o_lora_rank = 1024;
  config.sliding_window = 128;
  config.compress_ratios = {first_ratio, first_ratio};
  while (static_cast<std::int64_t>(config.compress_ratios.size()) < layers) {
    config.compress_ratios.push_back(config.compress_ratios.size() % 2 == 0 ? 4 : 128);
  }
  config.index_n_heads = 64;
  config.index_head_dim = 128;
  config.rope_theta = 10000;
  config.compress_rope_theta = 160000;
  config.rope_scaling = {.factor = 16, .original_max_position_embeddings = 65536, .beta_fast = 32, .beta_slow = 1};
  config.max_position_embeddings = 1048576;
  config.num_experts_per_tok = 6;
  config.num_hash_layers = 3;
  config.swiglu_limit = 10;
  config.hc_mult = 4;
  config.hc_sinkhorn_iters = 20;
  config.hc_eps = 1e-6;
  config.rms_norm_eps = 1e-6;
  config.expert_dtype = "fp4";
  return config;
}

ModelConfig flash() {
  ModelConfig config = common(43, 0);
  config.hidden_size = 4096;
  config.num_attention_heads = 64;
  config.q_lora_rank = 1024;
  config.o_groups = 8;
  config.index_topk = 512;
  config.n_routed_experts = 256;
  config.moe_intermediate_size = 2048;
  config.routed_scaling_factor = 1.5;
  return config;
}

ModelConfig pro() {
  ModelConfig config = common(61, 128);
  config.hidden_size = 7168;
  config.num_attention_heads = 128;
  config.q_lora_rank = 1536;
  config.o_groups = 16;
  config.index_topk = 1024;
  config.n_routed_experts = 384;
  config.moe_intermediate_size = 3072;
  config.routed_scaling_factor = 2.5;
  return config;
}

ModelConfig with_dspark(const ModelConfig& main, std::int64_t markov_rank) {
  ModelConfig config = with_drafter(main, DrafterFields::kDSpark);
  config.dspark.noise_token_id = 128799;
  config.dspark.markov_rank = markov_rank;
  return config;
}

ModelConfig bench() {
  ModelConfig config = flash();
  config.vocab_size = 12032;
  config.num_hidden_layers = 4;
  config.compress_ratios = {0, 4, 128, 4};
  config.n_routed_experts = 64;
  return config;
}

ModelConfig tiny() {
  ModelConfig config = common(6, 0);
  config.vocab_size = 384;
  config.hidden_size = 256;
  config.num_attention_heads = 8;
  config.head_dim = 96;
  config.qk_rope_head_dim = 32;
  config.q_lora_rank = 128;
  config.o_groups = 2;
  config.o_lora_rank = 128;
  config.index_n_heads = 8;
  config.index_head_dim = 64;
  config.index_topk = 24;
  config.rope_scaling.original_max_position_embeddings = 256;
  config.max_position_embeddings = 4096;
  config.n_routed_experts = 6;
  config.num_experts_per_tok = 3;
  config.moe_intermediate_size = 128;
  config.routed_scaling_factor = 1.5;
  return config;
}

using Maker = ModelConfig (*)();
constexpr std::array<std::pair<std::string_view, Maker>, 6> kPresets = {{
    {"tiny", [] { return with_drafter(tiny(), DrafterFields::kMtp); }},
    {"bench", bench},
    {"flash", [] { return with_drafter(flash(), DrafterFields::kMtp); }},
    {"flash-0731", [] { return with_dspark(flash(), 256); }},
    {"pro", [] { return with_drafter(pro(), DrafterFields::kMtp); }},
    {"pro-0813", [] { return with_dspark(pro(), 512); }},
}};

}  // namespace

Result<ModelConfig> preset(std::string_view name) {
  for (const auto& [known, make] : kPresets) {
    if (known == name) return make();
  }
  return fail(ErrorCode::kInvalidArgument, fmt::format("preset '{}' is unknown; there are {}", name, preset_names()));
}

std::string preset_names() {
  std::string names;
  for (const auto& [name, make] : kPresets) names += fmt::format("{}{}", names.empty() ? "" : ", ", name);
  return names;
}

DrafterFields drafter_fields(const ModelConfig& config) {
  if (config.dspark.block_size > 0) return DrafterFields::kDSpark;
  return config.num_nextn_predict_layers > 0 ? DrafterFields::kMtp : DrafterFields::kNone;
}

ModelConfig with_drafter(ModelConfig config, DrafterFields drafter) {
  constexpr std::int64_t kStages = 3;
  const std::int64_t layers = config.num_hidden_layers;
  const std::int64_t stages = drafter == DrafterFields::kDSpark ? kStages : drafter == DrafterFields::kMtp ? 1 : 0;
  config.compress_ratios.resize(static_cast<std::size_t>(layers));
  config.compress_ratios.resize(static_cast<std::size_t>(layers + stages), 0);
  config.num_nextn_predict_layers = drafter == DrafterFields::kNone ? 0 : 1;  // 1 for DSpark too, as in its releases
  config.dspark = {};
  if (drafter == DrafterFields::kDSpark) {
    config.dspark.block_size = 5;
    config.dspark.noise_token_id = config.vocab_size - 1;
    for (std::int64_t layer = std::max<std::int64_t>(layers - 3, 0); layer < layers; ++layer) {
      config.dspark.target_layer_ids.push_back(layer);
    }
    config.dspark.markov_rank = std::max<std::int64_t>(config.hidden_size / 16, 1);
  }
  return config;
}

}  // namespace hadal::formats
