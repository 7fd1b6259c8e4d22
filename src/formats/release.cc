#include "formats/release.h"

#include <algorithm>

namespace hadal::formats {
namespace {

bool same_main_model(const ModelConfig& a, const ModelConfig& b) {
  const auto layers = static_cast<std::ptrdiff_t>(a.num_hidden_layers);
  return a.vocab_size == b.vocab_size && a.hidden_size == b.hidden_size && a.num_hidden_layers == b.num_hidden_layers &&
         a.num_attention_heads == b.num_attention_heads && a.head_dim == b.head_dim && a.q_lora_rank == b.q_lora_rank &&
         a.o_groups == b.o_groups && a.n_routed_experts == b.n_routed_experts &&
         a.num_experts_per_tok == b.num_experts_per_tok && a.moe_intermediate_size == b.moe_intermediate_size &&
         a.num_hash_layers == b.num_hash_layers &&
         std::equal(a.compress_ratios.begin(), a.compress_ratios.begin() + layers, b.compress_ratios.begin());
}

}  // namespace

std::string release_name(const ModelConfig& config, DrafterFields drafter, std::optional<DType> experts) {
  std::string name;
  std::string dated;
  if (same_main_model(config, *preset("flash"))) {
    name = "DeepSeek-V4-Flash";
    dated = "DeepSeek-V4-Flash-0731";
  } else if (same_main_model(config, *preset("pro"))) {
    name = "DeepSeek-V4-Pro";
    dated = "DeepSeek-V4-Pro-0813";
  } else {
    return "a DeepSeek V4 model of its own dimensions";
  }
  if (experts == DType::kE4m3 || config.expert_dtype == "fp8") return name + "-Base";
  if (experts && *experts != DType::kI8) return name + " with unquantised experts";
  if (drafter == DrafterFields::kDSpark) return dated;
  if (drafter == DrafterFields::kNone) return name + " without a drafter";
  if (!config.expert_dtype.empty()) return name;
  return experts ? name + " (first revision)" : name + " (first revision) or " + name + "-Base";
}

}  // namespace hadal::formats
