#include <nlohmann/json.hpp>

#include "formats/model_config.h"

namespace hadal::formats {

std::string model_config_json(const ModelConfig& config, bool quantized) {
  nlohmann::ordered_json root;
  root["architectures"] = {"DeepseekV4ForCausalLM"};
  root["attention_bias"] = false;
  root["attention_dropout"] = 0.0;
  root["bos_token_id"] = config.bos_token_id;
  root["eos_token_id"] = config.eos_token_id;
  if (!config.expert_dtype.empty()) root["expert_dtype"] = config.expert_dtype;
  root["hc_eps"] = config.hc_eps;
  root["hc_mult"] = config.hc_mult;
  root["hc_sinkhorn_iters"] = config.hc_sinkhorn_iters;
  root["head_dim"] = config.head_dim;
  root["hidden_act"] = "silu";
  root["hidden_size"] = config.hidden_size;
  root["index_head_dim"] = config.index_head_dim;
  root["index_n_heads"] = config.index_n_heads;
  root["index_topk"] = config.index_topk;
  root["initializer_range"] = 0.02;
  root["max_position_embeddings"] = config.max_position_embeddings;
  root["model_type"] = "deepseek_v4";
  root["moe_intermediate_size"] = config.moe_intermediate_size;
  root["n_routed_experts"] = config.n_routed_experts;
  root["n_shared_experts"] = config.n_shared_experts;
  root["norm_topk_prob"] = config.norm_topk_prob;
  root["num_attention_heads"] = config.num_attention_heads;
  root["num_experts_per_tok"] = config.num_experts_per_tok;
  root["num_hidden_layers"] = config.num_hidden_layers;
  root["num_hash_layers"] = config.num_hash_layers;
  root["num_key_value_heads"] = 1;
  root["num_nextn_predict_layers"] = config.num_nextn_predict_layers;
  root["o_groups"] = config.o_groups;
  root["o_lora_rank"] = config.o_lora_rank;
  root["q_lora_rank"] = config.q_lora_rank;
  root["qk_rope_head_dim"] = config.qk_rope_head_dim;
  if (quantized) {
    root["quantization_config"] = {{"activation_scheme", "dynamic"},
                                   {"fmt", "e4m3"},
                                   {"quant_method", "fp8"},
                                   {"scale_fmt", "ue8m0"},
                                   {"weight_block_size", {128, 128}}};
  }
  root["rms_norm_eps"] = config.rms_norm_eps;
  if (config.rope_scaling.original_max_position_embeddings > 0) {
    root["rope_scaling"] = {{"beta_fast", config.rope_scaling.beta_fast},
                            {"beta_slow", config.rope_scaling.beta_slow},
                            {"factor", config.rope_scaling.factor},
                            {"original_max_position_embeddings", config.rope_scaling.original_max_position_embeddings},
                            {"type", "yarn"}};
  }
  root["rope_theta"] = config.rope_theta;
  root["routed_scaling_factor"] = config.routed_scaling_factor;
  root["scoring_func"] = "sqrtsoftplus";
  root["sliding_window"] = config.sliding_window;
  root["swiglu_limit"] = config.swiglu_limit;
  root["tie_word_embeddings"] = false;
  root["topk_method"] = "noaux_tc";
  root["torch_dtype"] = "bfloat16";
  root["use_cache"] = true;
  root["vocab_size"] = config.vocab_size;
  root["compress_rope_theta"] = config.compress_rope_theta;
  root["compress_ratios"] = config.compress_ratios;
  if (config.dspark.block_size > 0) {
    root["dspark_block_size"] = config.dspark.block_size;
    root["dspark_noise_token_id"] = config.dspark.noise_token_id;
    root["dspark_target_layer_ids"] = config.dspark.target_layer_ids;
    root["dspark_markov_rank"] = config.dspark.markov_rank;
  }
  return root.dump(2) + "\n";
}

}  // namespace hadal::formats
