#include "formats/model_config.h"

#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "base/mapped_file.h"
#include "base/problems.h"
#include "formats/json.h"

namespace hadal::formats {
namespace {

using Json = nlohmann::ordered_json;
using Names = std::initializer_list<std::string_view>;  // of literals

constexpr std::int64_t kMaxBytes = std::int64_t{1} << 20;  // the largest published config.json has 3,311

// Beyond any plausible model, small enough that no product of two of them and the expert count leaves 63 bits.
constexpr std::int64_t kMaxWidth = std::int64_t{1} << 17;
constexpr std::int64_t kMaxVocabulary = std::int64_t{1} << 24;
constexpr std::int64_t kMaxHeads = 4096;
constexpr std::int64_t kMaxLayers = 1024;
constexpr std::int64_t kMaxExpertsOfAllLayers = std::int64_t{1} << 20;
constexpr std::int64_t kMaxStages = 64;

/// A value as it is quoted in a message, cut to a readable length.
std::string quoted(const Json& value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

/// One JSON object whose fields are taken by name. Every way to write a field is a name in `Names`, Hugging Face's
/// first; two spellings of one field must agree. What is wrong is added to `problems`, what was never asked for is
/// unknown.
class Fields {
 public:
  Fields(const Json& object, std::string prefix, Problems& problems)
      : object_(object), prefix_(std::move(prefix)), problems_(problems) {}

  /// The field's value, or nullptr when it is absent or null.
  const Json* find(Names names) {
    const Json* found = nullptr;
    for (const std::string_view spelling : names) {
      const auto at = object_.find(spelling);
      if (at == object_.end()) continue;
      seen_.insert(spelling);
      if (at->is_null()) continue;
      if (found != nullptr && *found != *at) {
        wrong(spelling, fmt::format("is {}, but '{}{}' is {}", quoted(*at), prefix_, *names.begin(), quoted(*found)));
      }
      if (found == nullptr) found = &*at;
    }
    return found;
  }

  void missing(Names names) { wrong(*names.begin(), "is missing"); }

  /// An integer in [low, high]. Absent: `fallback`, or a problem when there is none.
  std::int64_t integer(Names names, std::int64_t low, std::int64_t high, const std::int64_t* fallback = nullptr) {
    const Json* value = find(names);
    if (value == nullptr) {
      if (fallback == nullptr) missing(names);
      return fallback == nullptr ? low : *fallback;
    }
    return checked_integer(*names.begin(), *value, low, high);
  }
  std::int64_t integer_or(Names names, std::int64_t low, std::int64_t high, std::int64_t fallback) {
    return integer(names, low, high, &fallback);
  }

  /// A finite number in [low, high]. Absent: `fallback`, or a problem when there is none.
  double number(Names names, double low, double high, const double* fallback = nullptr) {
    const Json* value = find(names);
    if (value == nullptr) {
      if (fallback == nullptr) missing(names);
      return fallback == nullptr ? low : *fallback;
    }
    if (!value->is_number()) {
      wrong(*names.begin(), fmt::format("must be a number, but is {}", quoted(*value)));
      return low;
    }
    const auto result = value->get<double>();
    if (!(result >= low && result <= high)) {
      wrong(*names.begin(), fmt::format("must be between {} and {}, but is {}", low, high, quoted(*value)));
      return low;
    }
    return result;
  }
  double number_or(Names names, double low, double high, double fallback) {
    return number(names, low, high, &fallback);
  }

  bool boolean_or(Names names, bool fallback) {
    const Json* value = find(names);
    if (value == nullptr) return fallback;
    if (!value->is_boolean()) {
      wrong(*names.begin(), fmt::format("must be true or false, but is {}", quoted(*value)));
      return fallback;
    }
    return value->get<bool>();
  }

  /// A text; absent: empty.
  std::string text(Names names) {
    const Json* value = find(names);
    if (value == nullptr) return "";
    if (!value->is_string()) {
      wrong(*names.begin(), fmt::format("must be a text, but is {}", quoted(*value)));
      return "";
    }
    return value->get<std::string>();
  }

  /// A text that must be one of `allowed` when it is there.
  std::string choice(Names names, Names allowed) {
    const std::string value = text(names);
    if (!value.empty() && std::find(allowed.begin(), allowed.end(), value) == allowed.end()) {
      wrong(*names.begin(), fmt::format("must be '{}', but is {}", fmt::join(allowed, "' or '"), quoted(Json(value))));
    }
    return value;
  }

  /// A list of at most `max_count` integers in [low, high]; absent: empty, a problem when `required`.
  std::vector<std::int64_t> integers(Names names, std::int64_t low, std::int64_t high, std::size_t max_count) {
    const Json* value = find(names);
    std::vector<std::int64_t> result;
    if (value == nullptr) return result;
    if (!value->is_array()) {
      wrong(*names.begin(), fmt::format("must be a list of integers, but is {}", quoted(*value)));
      return result;
    }
    if (value->size() > max_count) {
      wrong(*names.begin(), fmt::format("has {} entries, more than {}", value->size(), max_count));
      return result;
    }
    for (const Json& entry : *value) {
      result.push_back(checked_integer(fmt::format("{}[{}]", *names.begin(), result.size()), entry, low, high));
    }
    return result;
  }

  /// Names that carry no meaning for the forward pass: known, read by nobody.
  void ignore(Names names) { seen_.insert(names.begin(), names.end()); }

  void wrong(std::string_view field, std::string_view sentence) {
    problems_.add(fmt::format("field '{}{}' {}", prefix_, field, sentence));
  }

  /// Nothing is wrong so far: rules between fields are judged only then, so that one slip gives one sentence.
  [[nodiscard]] bool clean() const { return problems_.empty(); }

  void collect_unknown(std::vector<std::string>& unknown) const {
    for (const auto& [key, value] : object_.items()) {
      if (!seen_.contains(key)) unknown.push_back(prefix_ + key);
    }
  }

 private:
  std::int64_t checked_integer(std::string_view field, const Json& value, std::int64_t low, std::int64_t high) {
    // The parser turns an integer beyond 64 bits into a float, so "is an integer" also means "was read exactly".
    const bool fits =
        value.is_number_integer() &&
        !(value.is_number_unsigned() &&
          value.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()));
    if (!fits) {
      wrong(field, fmt::format("must be an integer, but is {}", quoted(value)));
      return low;
    }
    const auto result = value.get<std::int64_t>();
    if (result < low || result > high) {
      wrong(field, fmt::format("must be between {} and {}, but is {}", low, high, result));
      return low;
    }
    return result;
  }

  const Json& object_;
  std::string prefix_;
  Problems& problems_;
  std::set<std::string_view> seen_;
};

/// Refuses every architecture but V4's by name, before a single field is judged.
Status check_architecture(const Json& root, std::string_view where) {
  std::string named;
  if (const auto type = root.find("model_type"); type != root.end() && type->is_string()) {
    named = type->get<std::string>();
    if (named == "deepseek_v41") {
      return fail(ErrorCode::kUnsupported,
                  fmt::format("{}: 'deepseek_v41' (DeepSeek V4.1) is another architecture than DeepSeek V4 and is not "
                              "supported",
                              where));
    }
    if (named != "deepseek_v4") {
      return fail(ErrorCode::kUnsupported, fmt::format("{}: architecture {} is not supported, only 'deepseek_v4' is",
                                                       where, quoted(Json(named))));
    }
  }
  if (const auto list = root.find("architectures"); list != root.end() && list->is_array() && !list->empty()) {
    const bool ours = std::any_of(list->begin(), list->end(), [](const Json& entry) {
      return entry.is_string() && entry.get<std::string>() == "DeepseekV4ForCausalLM";
    });
    if (!ours) {
      return fail(ErrorCode::kUnsupported,
                  fmt::format("{}: architecture {} is not supported, only 'DeepseekV4ForCausalLM' is", where,
                              quoted(list->front())));
    }
  }
  for (const auto& [key, value] : root.items()) {
    if (key.starts_with("vision_")) {
      return fail(ErrorCode::kUnsupported,
                  fmt::format("{}: field '{}' belongs to a vision variant of DeepSeek V4, which is not supported",
                              where, quoted(Json(key))));
    }
  }
  return {};
}

void read_sizes(Fields& fields, ModelConfig& config) {
  config.vocab_size = fields.integer({"vocab_size"}, 1, kMaxVocabulary);
  config.hidden_size = fields.integer({"hidden_size", "dim"}, 1, kMaxWidth);
  config.num_hidden_layers = fields.integer({"num_hidden_layers", "n_layers"}, 1, kMaxLayers);
  config.num_attention_heads = fields.integer({"num_attention_heads", "n_heads"}, 1, kMaxHeads);
  config.head_dim = fields.integer({"head_dim"}, 1, 1 << 14);
  config.qk_rope_head_dim = fields.integer({"qk_rope_head_dim", "rope_head_dim"}, 2, 1 << 14);
  config.q_lora_rank = fields.integer({"q_lora_rank"}, 1, kMaxWidth);
  config.o_groups = fields.integer({"o_groups"}, 1, kMaxHeads);
  config.o_lora_rank = fields.integer({"o_lora_rank"}, 1, kMaxWidth);
  config.sliding_window = fields.integer({"sliding_window", "window_size"}, 1, 1 << 20);
  if (config.qk_rope_head_dim % 2 != 0) fields.wrong("qk_rope_head_dim", "must be even");
  if (fields.clean() && config.head_dim <= config.qk_rope_head_dim) {
    fields.wrong("head_dim", fmt::format("must be larger than qk_rope_head_dim, but is {} and {}", config.head_dim,
                                         config.qk_rope_head_dim));
  }
  if (fields.clean() && config.num_attention_heads % config.o_groups != 0) {
    fields.wrong("o_groups", fmt::format("must divide num_attention_heads, but is {} for {} heads", config.o_groups,
                                         config.num_attention_heads));
  }
  if (fields.integer_or({"num_key_value_heads"}, 0, kMaxHeads, 1) != 1) {
    fields.wrong("num_key_value_heads", "must be 1: all heads share one key");
  }
}

void read_compression(Fields& fields, ModelConfig& config) {
  config.compress_ratios =
      fields.integers({"compress_ratios"}, 0, 1 << 20, static_cast<std::size_t>(kMaxLayers + kMaxStages));
  const auto layers = static_cast<std::int64_t>(config.compress_ratios.size());
  if (fields.find({"compress_ratios"}) == nullptr) {
    fields.missing({"compress_ratios"});
  } else if (!fields.clean()) {
    return;
  } else if (layers < config.num_hidden_layers) {
    fields.wrong("compress_ratios", fmt::format("has {} entries for {} layers", layers, config.num_hidden_layers));
  } else if (layers - config.num_hidden_layers > kMaxStages) {
    fields.wrong("compress_ratios", fmt::format("has {} entries for {} layers: more than {} draft stages", layers,
                                                config.num_hidden_layers, kMaxStages));
  }
  bool any_ratio = false;
  bool ratio4 = false;
  for (std::size_t layer = 0; layer < config.compress_ratios.size(); ++layer) {
    const std::int64_t ratio = config.compress_ratios[layer];
    if (ratio != 0 && ratio != 4 && ratio != 128) {
      fields.wrong(fmt::format("compress_ratios[{}]", layer), fmt::format("must be 0, 4 or 128, but is {}", ratio));
    }
    any_ratio = any_ratio || ratio != 0;
    ratio4 = ratio4 || ratio == 4;
  }
  // A model without ratio-4 layers has no indexer and need not describe one.
  const std::int64_t none = 0;
  const std::int64_t* absent = ratio4 ? nullptr : &none;
  const std::int64_t low = ratio4 ? 1 : 0;
  config.index_n_heads = fields.integer({"index_n_heads"}, low, kMaxHeads, absent);
  config.index_head_dim = fields.integer({"index_head_dim"}, low, 1 << 14, absent);
  config.index_topk = fields.integer({"index_topk"}, low, 1 << 24, absent);
  if (ratio4 && fields.clean() && !std::has_single_bit(static_cast<std::uint64_t>(config.index_head_dim))) {
    fields.wrong("index_head_dim", fmt::format("must be a power of two, but is {}", config.index_head_dim));
  }
  if (ratio4 && fields.clean() && config.index_head_dim < config.qk_rope_head_dim) {
    fields.wrong("index_head_dim", fmt::format("must not be smaller than qk_rope_head_dim, but is {} and {}",
                                               config.index_head_dim, config.qk_rope_head_dim));
  }
  config.rope_theta = fields.number({"rope_theta"}, 1, 1e12);
  config.compress_rope_theta = any_ratio ? fields.number({"compress_rope_theta"}, 1, 1e12)
                                         : fields.number_or({"compress_rope_theta"}, 1, 1e12, config.rope_theta);
}

void read_rope_scaling(Fields& scaling, ModelConfig::RopeScaling& rope) {
  constexpr std::int64_t kMaxPositions = std::int64_t{1} << 40;
  rope.factor = scaling.number_or({"factor", "rope_factor"}, 1, 1e6, 1);
  rope.original_max_position_embeddings =
      scaling.integer_or({"original_max_position_embeddings", "original_seq_len"}, 0, kMaxPositions, 0);
  rope.beta_fast = scaling.number_or({"beta_fast"}, 1e-6, 1e6, 32);
  rope.beta_slow = scaling.number_or({"beta_slow"}, 1e-6, 1e6, 1);
  if (rope.beta_fast < rope.beta_slow) scaling.wrong("beta_fast", "must not be smaller than beta_slow");
}

void read_positions(Fields& fields, ModelConfig& config, Problems& problems) {
  constexpr std::int64_t kMaxPositions = std::int64_t{1} << 40;
  const Json* nested = fields.find({"rope_scaling"});
  if (nested != nullptr && !nested->is_object()) {
    fields.wrong("rope_scaling", fmt::format("must be an object, but is {}", quoted(*nested)));
  } else if (nested != nullptr) {
    Fields scaling(*nested, "rope_scaling.", problems);
    const std::string type = scaling.choice({"type", "rope_type"}, {"yarn"});
    if (type.empty()) scaling.missing({"type"});
    if (scaling.find({"factor"}) == nullptr) scaling.missing({"factor"});
    if (scaling.find({"original_max_position_embeddings"}) == nullptr) {
      scaling.missing({"original_max_position_embeddings"});
    }
    read_rope_scaling(scaling, config.rope_scaling);
    scaling.collect_unknown(config.unknown_fields);
  } else {
    read_rope_scaling(fields, config.rope_scaling);  // the official spelling has these fields at the top
  }
  const double extended =
      std::min(config.rope_scaling.factor * static_cast<double>(config.rope_scaling.original_max_position_embeddings),
               static_cast<double>(kMaxPositions));
  const auto derived = static_cast<std::int64_t>(extended);
  config.max_position_embeddings =
      fields.integer({"max_position_embeddings", "max_seq_len"}, 1, kMaxPositions, derived > 0 ? &derived : nullptr);
}

void read_mixture(Fields& fields, ModelConfig& config) {
  config.n_routed_experts = fields.integer({"n_routed_experts"}, 1, kMaxExpertsOfAllLayers);
  config.n_shared_experts = fields.integer_or({"n_shared_experts"}, 0, kMaxExpertsOfAllLayers, 1);
  config.num_experts_per_tok =
      fields.integer({"num_experts_per_tok", "n_activated_experts"}, 1, kMaxExpertsOfAllLayers);
  config.moe_intermediate_size = fields.integer({"moe_intermediate_size", "moe_inter_dim"}, 1, kMaxWidth);
  config.num_hash_layers = fields.integer_or({"num_hash_layers", "n_hash_layers"}, 0, kMaxLayers, 0);
  config.norm_topk_prob = fields.boolean_or({"norm_topk_prob"}, true);
  config.routed_scaling_factor = fields.number({"routed_scaling_factor", "route_scale"}, 1e-6, 1e6);
  config.swiglu_limit = fields.number({"swiglu_limit"}, 0, 1e9);
  fields.choice({"scoring_func", "score_func"}, {"sqrtsoftplus"});
  fields.choice({"topk_method"}, {"noaux_tc"});
  config.expert_dtype = fields.choice({"expert_dtype"}, {"fp4", "fp8", "bf16"});
  if (!fields.clean()) return;
  if (config.n_shared_experts != 1) {
    fields.wrong("n_shared_experts", fmt::format("must be 1, but is {}", config.n_shared_experts));
  }
  if (config.num_experts_per_tok > config.n_routed_experts) {
    fields.wrong("num_experts_per_tok", fmt::format("must not be larger than n_routed_experts, but is {} of {}",
                                                    config.num_experts_per_tok, config.n_routed_experts));
  }
  if (config.num_hash_layers > config.num_hidden_layers) {
    fields.wrong("num_hash_layers", fmt::format("must not be larger than num_hidden_layers, but is {} of {}",
                                                config.num_hash_layers, config.num_hidden_layers));
  }
  const auto layers = static_cast<std::int64_t>(config.compress_ratios.size());
  if (layers > 0 && config.n_routed_experts > kMaxExpertsOfAllLayers / layers) {
    fields.wrong("n_routed_experts", fmt::format("is {}: more than {} experts in {} layers", config.n_routed_experts,
                                                 kMaxExpertsOfAllLayers, layers));
  }
}

void read_streams_and_drafts(Fields& fields, ModelConfig& config) {
  config.hc_mult = fields.integer({"hc_mult"}, 1, 64);
  config.hc_sinkhorn_iters = fields.integer({"hc_sinkhorn_iters"}, 1, 1000);
  config.hc_eps = fields.number({"hc_eps"}, 0, 1);
  config.rms_norm_eps = fields.number({"rms_norm_eps", "norm_eps"}, 0, 1);
  config.num_nextn_predict_layers = fields.integer_or({"num_nextn_predict_layers", "n_mtp_layers"}, 0, kMaxStages, 0);
  config.bos_token_id = fields.integer_or({"bos_token_id"}, 0, kMaxVocabulary, 0);
  config.eos_token_id = fields.integer_or({"eos_token_id"}, 0, kMaxVocabulary, 1);
  // Whether the drafter's fields fit the model is judged beside its tensors: without them the main model still runs.
  config.dspark.block_size = fields.integer_or({"dspark_block_size"}, 0, 1024, 0);
  config.dspark.noise_token_id = fields.integer_or({"dspark_noise_token_id"}, 0, kMaxVocabulary, 0);
  config.dspark.target_layer_ids =
      fields.integers({"dspark_target_layer_ids"}, 0, kMaxLayers, static_cast<std::size_t>(kMaxLayers));
  config.dspark.markov_rank = fields.integer_or({"dspark_markov_rank"}, 0, kMaxWidth, 0);
}

void read_quantization(Fields& fields, ModelConfig& config, Problems& problems) {
  const Json* nested = fields.find({"quantization_config"});
  if (nested == nullptr) return;
  if (!nested->is_object()) {
    fields.wrong("quantization_config", fmt::format("must be an object, but is {}", quoted(*nested)));
    return;
  }
  Fields quantization(*nested, "quantization_config.", problems);
  quantization.choice({"quant_method"}, {"fp8"});
  quantization.choice({"fmt"}, {"e4m3"});
  quantization.choice({"activation_scheme"}, {"dynamic"});
  quantization.choice({"scale_fmt"}, {"ue8m0"});
  const auto block = quantization.integers({"weight_block_size"}, 1, 1 << 20, 8);
  if (!block.empty() && block != std::vector<std::int64_t>{128, 128}) {
    quantization.wrong("weight_block_size", fmt::format("must be [128, 128], but is [{}]", fmt::join(block, ", ")));
  }
  quantization.collect_unknown(config.unknown_fields);
}

void read_fixed(Fields& fields) {
  fields.choice({"hidden_act"}, {"silu"});
  if (fields.boolean_or({"tie_word_embeddings"}, false)) {
    fields.wrong("tie_word_embeddings", "must be false: the head is a tensor of its own");
  }
  if (fields.boolean_or({"attention_bias"}, false)) fields.wrong("attention_bias", "must be false: V4 has no biases");
  fields.number_or({"attention_dropout"}, 0, 1, 0);
  fields.number_or({"initializer_range"}, 0, 1e6, 0);
  fields.ignore({"architectures", "model_type", "torch_dtype", "transformers_version", "use_cache"});
  fields.ignore({"dtype", "scale_fmt", "scale_dtype", "max_batch_size"});  // of the official inference configuration
}

}  // namespace

Result<ModelConfig> parse_model_config(std::string_view text, std::string_view where) {
  HADAL_ASSIGN(const Json root, parse_json(text, where, kMaxBytes));
  if (!root.is_object()) return fail(ErrorCode::kCorrupt, fmt::format("{}: is not a JSON object", where));
  HADAL_TRY(check_architecture(root, where));

  ModelConfig config;
  Problems problems;
  Fields fields(root, "", problems);
  read_sizes(fields, config);
  read_compression(fields, config);
  read_positions(fields, config, problems);
  read_mixture(fields, config);
  read_streams_and_drafts(fields, config);
  read_quantization(fields, config, problems);
  read_fixed(fields);
  HADAL_TRY(problems.status(ErrorCode::kInvalidArgument, where));
  fields.collect_unknown(config.unknown_fields);
  return config;
}

Result<ModelConfig> read_model_config(const std::filesystem::path& path) {
  HADAL_ASSIGN(const std::string text, read_file(path, kMaxBytes));
  return parse_model_config(text, path.string());
}

}  // namespace hadal::formats
