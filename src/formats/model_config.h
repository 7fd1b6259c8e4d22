#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hadal::formats {

/// The V4 hyper-parameters, under the names of config.json. Units: elements, unless said otherwise.
struct ModelConfig {
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t num_hidden_layers = 0;
  std::int64_t num_attention_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t qk_rope_head_dim = 0;
  std::int64_t q_lora_rank = 0;
  std::int64_t o_groups = 0;
  std::int64_t o_lora_rank = 0;
  std::int64_t sliding_window = 0;
  std::vector<std::int64_t> compress_ratios;  // one per main layer, then one per MTP layer or DSpark stage
  std::int64_t index_n_heads = 0;
  std::int64_t index_head_dim = 0;
  std::int64_t index_topk = 0;
  double rope_theta = 0;
  double compress_rope_theta = 0;
  struct RopeScaling {
    double factor = 1;
    std::int64_t original_max_position_embeddings = 0;  // 0: no YaRN
    double beta_fast = 32;
    double beta_slow = 1;
  } rope_scaling;
  std::int64_t max_position_embeddings = 0;
  std::int64_t n_routed_experts = 0;
  std::int64_t n_shared_experts = 1;
  std::int64_t num_experts_per_tok = 0;
  std::int64_t moe_intermediate_size = 0;
  bool norm_topk_prob = true;
  double routed_scaling_factor = 1;
  std::int64_t num_hash_layers = 0;
  double swiglu_limit = 0;  // 0: no clamp
  std::int64_t hc_mult = 1;
  std::int64_t hc_sinkhorn_iters = 0;
  double hc_eps = 0;
  double rms_norm_eps = 0;
  std::int64_t num_nextn_predict_layers = 0;
  std::int64_t bos_token_id = 0;
  std::int64_t eos_token_id = 1;
  std::string expert_dtype;  // "fp4", "fp8" or empty: decided by the tensors

  struct DSpark {
    std::int64_t block_size = 0;  // 0: the fields are absent
    std::int64_t noise_token_id = 0;
    std::vector<std::int64_t> target_layer_ids;
    std::int64_t markov_rank = 0;
  } dspark;

  /// Fields that were read but have no meaning here, in file order: reported once by whoever loads.
  std::vector<std::string> unknown_fields;

  [[nodiscard]] std::int64_t nope_dim() const { return head_dim - qk_rope_head_dim; }
};

/// Parses the text of a config.json (Hugging Face or official inference spelling). `where` is named in messages.
/// Errors: kCorrupt (not JSON), kInvalidArgument (a wrong field, by name), kUnsupported (another architecture).
[[nodiscard]] Result<ModelConfig> parse_model_config(std::string_view text, std::string_view where);

/// Reads and parses the file. Errors as parse_model_config and read_file.
[[nodiscard]] Result<ModelConfig> read_model_config(const std::filesystem::path& path);

/// The text of a config.json with these values, in the official spelling and order; `quantized` adds the
/// quantization_config of FP8 checkpoints. Parsing it gives the same values back.
[[nodiscard]] std::string model_config_json(const ModelConfig& config, bool quantized);

}  // namespace hadal::formats
