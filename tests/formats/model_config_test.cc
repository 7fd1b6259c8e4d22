#include "formats/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "testing/temp_directory.h"

namespace hadal::formats {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing_support::golden;
using testing_support::read_text;
using Json = nlohmann::ordered_json;

Json flash() { return Json::parse(read_text(golden("configs/V4-Flash-0731/config.json"))); }

Result<ModelConfig> parse(const Json& json) { return parse_model_config(json.dump(), "config.json"); }

TEST(ModelConfig, FlashHasThePublishedValues) {
  const auto config = read_model_config(golden("configs/V4-Flash/config.json"));
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->vocab_size, 129280);
  EXPECT_EQ(config->hidden_size, 4096);
  EXPECT_EQ(config->num_hidden_layers, 43);
  EXPECT_EQ(config->num_attention_heads, 64);
  EXPECT_EQ(config->head_dim, 512);
  EXPECT_EQ(config->nope_dim(), 448);
  EXPECT_EQ(config->q_lora_rank, 1024);
  EXPECT_EQ(config->o_groups, 8);
  EXPECT_EQ(config->o_lora_rank, 1024);
  EXPECT_EQ(config->sliding_window, 128);
  EXPECT_EQ(config->compress_ratios.size(), 44U);
  EXPECT_EQ(std::count(config->compress_ratios.begin(), config->compress_ratios.end(), 4), 21);
  EXPECT_EQ(std::count(config->compress_ratios.begin(), config->compress_ratios.end(), 128), 20);
  EXPECT_EQ(config->index_n_heads, 64);
  EXPECT_EQ(config->index_head_dim, 128);
  EXPECT_EQ(config->index_topk, 512);
  EXPECT_EQ(config->rope_theta, 10000);
  EXPECT_EQ(config->compress_rope_theta, 160000);
  EXPECT_EQ(config->rope_scaling.factor, 16);
  EXPECT_EQ(config->rope_scaling.original_max_position_embeddings, 65536);
  EXPECT_EQ(config->rope_scaling.beta_fast, 32);
  EXPECT_EQ(config->rope_scaling.beta_slow, 1);
  EXPECT_EQ(config->max_position_embeddings, 1048576);
  EXPECT_EQ(config->n_routed_experts, 256);
  EXPECT_EQ(config->num_experts_per_tok, 6);
  EXPECT_EQ(config->moe_intermediate_size, 2048);
  EXPECT_TRUE(config->norm_topk_prob);
  EXPECT_EQ(config->routed_scaling_factor, 1.5);
  EXPECT_EQ(config->num_hash_layers, 3);
  EXPECT_EQ(config->swiglu_limit, 10);
  EXPECT_EQ(config->hc_mult, 4);
  EXPECT_EQ(config->hc_sinkhorn_iters, 20);
  EXPECT_EQ(config->hc_eps, 1e-6);
  EXPECT_EQ(config->rms_norm_eps, 1e-6);
  EXPECT_EQ(config->num_nextn_predict_layers, 1);
  EXPECT_EQ(config->eos_token_id, 1);
  EXPECT_EQ(config->expert_dtype, "fp4");
  EXPECT_EQ(config->dspark.block_size, 0);
}

TEST(ModelConfig, EveryV4ConfigurationIsKnownToTheLastField) {
  for (const char* name : {"configs/V4-Flash", "configs/V4-Flash-0731", "configs/V4-Pro", "configs/V4-Pro-0813",
                           "tiny-base/checkpoint", "tiny-dspark/checkpoint"}) {
    const auto config = read_model_config(golden(name) / "config.json");
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_THAT(config->unknown_fields, IsEmpty()) << name;
  }
  const auto pro = read_model_config(golden("configs/V4-Pro-0813/config.json"));
  EXPECT_EQ(pro->num_hidden_layers, 61);
  EXPECT_EQ(pro->dspark.block_size, 5);
  EXPECT_EQ(pro->dspark.noise_token_id, 128799);
  EXPECT_THAT(pro->dspark.target_layer_ids, ElementsAre(58, 59, 60));
  EXPECT_EQ(pro->dspark.markov_rank, 512);
}

TEST(ModelConfig, WrittenConfigurationsReadTheSame) {
  for (const char* name : {"configs/V4-Flash", "configs/V4-Pro-0813", "tiny-base/checkpoint"}) {
    const auto config = read_model_config(golden(name) / "config.json");
    ASSERT_TRUE(config);
    const std::string text = model_config_json(*config, true);
    const auto again = parse_model_config(text, "again");
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(model_config_json(*again, true), text);
    // Against the official file, value by value: what is written says the same as what was read.
    const Json official = Json::parse(read_text(golden(name) / "config.json"));
    const Json written = Json::parse(text);
    for (const auto& [key, value] : official.items()) {
      if (key == "transformers_version") continue;
      ASSERT_TRUE(written.contains(key)) << key;
      EXPECT_EQ(written[key], value) << name << " " << key;
    }
  }
}

TEST(ModelConfig, OfficialInferenceSpellingGivesTheSame) {
  const auto expected = parse(flash());
  Json official = Json::object();
  const std::pair<const char*, const char*> spellings[] = {{"dim", "hidden_size"},
                                                           {"n_layers", "num_hidden_layers"},
                                                           {"n_heads", "num_attention_heads"},
                                                           {"rope_head_dim", "qk_rope_head_dim"},
                                                           {"window_size", "sliding_window"},
                                                           {"n_activated_experts", "num_experts_per_tok"},
                                                           {"moe_inter_dim", "moe_intermediate_size"},
                                                           {"score_func", "scoring_func"},
                                                           {"route_scale", "routed_scaling_factor"},
                                                           {"n_hash_layers", "num_hash_layers"},
                                                           {"norm_eps", "rms_norm_eps"},
                                                           {"n_mtp_layers", "num_nextn_predict_layers"}};
  Json hf = flash();
  for (const auto& [ours, theirs] : spellings) {
    official[ours] = hf[theirs];
    hf.erase(theirs);
  }
  for (const char* same : {"vocab_size",
                           "n_routed_experts",
                           "n_shared_experts",
                           "swiglu_limit",
                           "q_lora_rank",
                           "head_dim",
                           "o_groups",
                           "o_lora_rank",
                           "compress_ratios",
                           "compress_rope_theta",
                           "rope_theta",
                           "index_n_heads",
                           "index_head_dim",
                           "index_topk",
                           "hc_mult",
                           "hc_sinkhorn_iters",
                           "hc_eps",
                           "expert_dtype",
                           "dspark_block_size",
                           "dspark_noise_token_id",
                           "dspark_target_layer_ids",
                           "dspark_markov_rank"}) {
    official[same] = hf[same];
  }
  official["original_seq_len"] = 65536;
  official["rope_factor"] = 16;
  official["beta_fast"] = 32;
  official["beta_slow"] = 1;
  official["dtype"] = "fp8";
  official["scale_fmt"] = "ue8m0";
  const auto config = parse(official);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(model_config_json(*config, true), model_config_json(*expected, true));
  EXPECT_EQ(config->max_position_embeddings, 1048576);  // factor times original length
  EXPECT_THAT(config->unknown_fields, IsEmpty());
}

TEST(ModelConfig, TwoSpellingsMustAgree) {
  Json json = flash();
  json["dim"] = 4096;
  EXPECT_TRUE(parse(json));
  json["dim"] = 4097;
  const auto config = parse(json);
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(config.error().message, HasSubstr("field 'dim' is 4097, but 'hidden_size' is 4096"));
}

TEST(ModelConfig, UnknownFieldsAreCollectedInOrder) {
  Json json = flash();
  json["zebra"] = 1;
  json["apple"] = {{"a", 1}};
  json["rope_scaling"]["mscale"] = 1;
  json["quantization_config"]["extra"] = true;
  const auto config = parse(json);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_THAT(config->unknown_fields,
              ElementsAre("rope_scaling.mscale", "quantization_config.extra", "zebra", "apple"));
}

struct WrongField {
  const char* path;
  const char* value;  // JSON; empty: the field is taken away
  const char* message;
};

class WrongFields : public testing::TestWithParam<WrongField> {};

TEST_P(WrongFields, AreRefusedByName) {
  Json json = flash();
  const Json::json_pointer at(GetParam().path);
  if (std::string(GetParam().value).empty()) {
    json.erase(std::string(GetParam().path).substr(1));
  } else {
    json[at] = Json::parse(GetParam().value);
  }
  const auto config = parse(json);
  ASSERT_FALSE(config) << GetParam().path;
  EXPECT_EQ(config.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(config.error().message, HasSubstr(GetParam().message));
  EXPECT_THAT(config.error().message, Not(HasSubstr("\n"))) << "one slip, one sentence";
}

constexpr WrongField kWrongFields[] = {
    {"/vocab_size", "", "field 'vocab_size' is missing"},
    {"/vocab_size", "0", "field 'vocab_size' must be between 1 and 16777216, but is 0"},
    {"/hidden_size", "-4096", "field 'hidden_size' must be between 1 and 131072, but is -4096"},
    {"/hidden_size", "4096.0", "field 'hidden_size' must be an integer, but is 4096.0"},
    {"/hidden_size", "\"4096\"", "field 'hidden_size' must be an integer, but is \"4096\""},
    {"/hidden_size", "18446744073709551616", "field 'hidden_size' must be an integer"},
    {"/hidden_size", "18446744073709551615", "field 'hidden_size' must be an integer"},
    {"/hidden_size", "9223372036854775807", "field 'hidden_size' must be between"},
    {"/num_hidden_layers", "44000", "field 'num_hidden_layers' must be between 1 and 1024"},
    {"/num_hidden_layers", "47", "field 'compress_ratios' has 46 entries for 47 layers"},
    {"/num_hidden_layers", "true", "field 'num_hidden_layers' must be an integer, but is true"},
    {"/num_attention_heads", "60", "field 'o_groups' must divide num_attention_heads, but is 8 for 60 heads"},
    {"/num_key_value_heads", "8", "field 'num_key_value_heads' must be 1"},
    {"/head_dim", "64", "field 'head_dim' must be larger than qk_rope_head_dim, but is 64 and 64"},
    {"/qk_rope_head_dim", "63", "field 'qk_rope_head_dim' must be even"},
    {"/q_lora_rank", "null", "field 'q_lora_rank' is missing"},
    {"/o_groups", "0", "field 'o_groups' must be between"},
    {"/o_lora_rank", "[]", "field 'o_lora_rank' must be an integer, but is []"},
    {"/sliding_window", "0", "field 'sliding_window' must be between"},
    {"/compress_ratios", "", "field 'compress_ratios' is missing"},
    {"/compress_ratios", "4", "field 'compress_ratios' must be a list of integers, but is 4"},
    {"/compress_ratios/5", "2", "field 'compress_ratios[5]' must be 0, 4 or 128, but is 2"},
    {"/compress_ratios/5", "\"4\"", "field 'compress_ratios[5]' must be an integer, but is \"4\""},
    {"/index_head_dim", "96", "field 'index_head_dim' must be a power of two, but is 96"},
    {"/index_head_dim", "32", "field 'index_head_dim' must not be smaller than qk_rope_head_dim"},
    {"/index_n_heads", "0", "field 'index_n_heads' must be between 1"},
    {"/index_topk", "", "field 'index_topk' is missing"},
    {"/rope_theta", "0", "field 'rope_theta' must be between 1"},
    {"/rope_theta", "\"x\"", "field 'rope_theta' must be a number, but is \"x\""},
    {"/compress_rope_theta", "", "field 'compress_rope_theta' is missing"},
    {"/rope_scaling", "5", "field 'rope_scaling' must be an object, but is 5"},
    {"/rope_scaling/type", "\"linear\"", "field 'rope_scaling.type' must be 'yarn', but is \"linear\""},
    {"/rope_scaling/type", "null", "field 'rope_scaling.type' is missing"},
    {"/rope_scaling/factor", "null", "field 'rope_scaling.factor' is missing"},
    {"/rope_scaling/factor", "0.5", "field 'rope_scaling.factor' must be between 1"},
    {"/rope_scaling/original_max_position_embeddings", "1.5",
     "field 'rope_scaling.original_max_position_embeddings' must be an integer, but is 1.5"},
    {"/rope_scaling/beta_fast", "0.5", "field 'rope_scaling.beta_fast' must not be smaller than beta_slow"},
    {"/max_position_embeddings", "0", "field 'max_position_embeddings' must be between 1"},
    {"/n_routed_experts", "1000000000", "field 'n_routed_experts' must be between"},
    {"/n_routed_experts", "1048576", "experts in 46 layers"},
    {"/n_shared_experts", "2", "field 'n_shared_experts' must be 1, but is 2"},
    {"/num_experts_per_tok", "257", "field 'num_experts_per_tok' must not be larger than n_routed_experts"},
    {"/moe_intermediate_size", "0", "field 'moe_intermediate_size' must be between"},
    {"/norm_topk_prob", "1", "field 'norm_topk_prob' must be true or false, but is 1"},
    {"/routed_scaling_factor", "-1", "field 'routed_scaling_factor' must be between"},
    {"/num_hash_layers", "44", "field 'num_hash_layers' must not be larger than num_hidden_layers"},
    {"/swiglu_limit", "", "field 'swiglu_limit' is missing"},
    {"/swiglu_limit", "-1", "field 'swiglu_limit' must be between 0"},
    {"/scoring_func", "\"sigmoid\"", "field 'scoring_func' must be 'sqrtsoftplus', but is \"sigmoid\""},
    {"/topk_method", "\"greedy\"", "field 'topk_method' must be 'noaux_tc', but is \"greedy\""},
    {"/expert_dtype", "\"int4\"", "field 'expert_dtype' must be 'fp4' or 'fp8' or 'bf16', but is \"int4\""},
    {"/hc_mult", "0", "field 'hc_mult' must be between 1 and 64, but is 0"},
    {"/hc_sinkhorn_iters", "0", "field 'hc_sinkhorn_iters' must be between 1"},
    {"/hc_eps", "1.5", "field 'hc_eps' must be between 0 and 1, but is 1.5"},
    {"/rms_norm_eps", "-1e-6", "field 'rms_norm_eps' must be between 0"},
    {"/hidden_act", "\"gelu\"", "field 'hidden_act' must be 'silu', but is \"gelu\""},
    {"/tie_word_embeddings", "true", "field 'tie_word_embeddings' must be false"},
    {"/attention_bias", "true", "field 'attention_bias' must be false"},
    {"/quantization_config", "\"fp8\"", "field 'quantization_config' must be an object"},
    {"/quantization_config/quant_method", "\"gptq\"", "field 'quantization_config.quant_method' must be 'fp8'"},
    {"/quantization_config/fmt", "\"e5m2\"", "field 'quantization_config.fmt' must be 'e4m3'"},
    {"/quantization_config/weight_block_size", "[32, 32]",
     "field 'quantization_config.weight_block_size' must be [128, 128], but is [32, 32]"},
    {"/dspark_block_size", "-1", "field 'dspark_block_size' must be between 0"},
    {"/dspark_target_layer_ids", "[40, 41.5]", "field 'dspark_target_layer_ids[1]' must be an integer, but is 41.5"},
};
INSTANTIATE_TEST_SUITE_P(All, WrongFields, testing::ValuesIn(kWrongFields), [](const auto& field) {
  std::string name = field.param.path + std::to_string(field.index);
  std::replace_if(
      name.begin(), name.end(), [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; }, '_');
  return name.substr(1);
});

TEST(ModelConfig, AllThatIsWrongIsListedAtOnce) {
  Json json = flash();
  json["hc_mult"] = 0;
  json.erase("vocab_size");
  json["scoring_func"] = "softmax";
  const auto config = parse(json);
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().message,
            "config.json: 3 things are wrong:\n"
            "  - field 'vocab_size' is missing\n"
            "  - field 'scoring_func' must be 'sqrtsoftplus', but is \"softmax\"\n"
            "  - field 'hc_mult' must be between 1 and 64, but is 0");
}

TEST(ModelConfig, OtherArchitecturesAreNamedAndRefused) {
  const auto v41 = read_model_config(golden("configs/V4.1-Flash/config.json"));
  ASSERT_FALSE(v41);
  EXPECT_EQ(v41.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(v41.error().message,
              testing::EndsWith("config.json: 'deepseek_v41' (DeepSeek V4.1) is another architecture than DeepSeek V4 "
                                "and is not supported"));
  const auto llama = parse_model_config(R"({"model_type": "llama", "hidden_size": "?"})", "c");
  ASSERT_FALSE(llama);
  EXPECT_EQ(llama.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(llama.error().message, "c: architecture \"llama\" is not supported, only 'deepseek_v4' is");
  const auto v3 = parse_model_config(R"({"architectures": ["DeepseekV3ForCausalLM"]})", "c");
  ASSERT_FALSE(v3);
  EXPECT_THAT(v3.error().message, HasSubstr("DeepseekV3ForCausalLM"));
  Json vision = flash();
  vision["vision_depth"] = 24;
  const auto refused = parse(vision);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(refused.error().message, HasSubstr("vision_depth"));
}

TEST(ModelConfig, BrokenTextIsCorrupt) {
  for (const std::string& text : {std::string(""), std::string("{"), std::string("[]"), std::string("null"),
                                  std::string("{} x"), std::string("{\"a\": \"\xff\"}"), std::string(1000, '[')}) {
    const auto config = parse_model_config(text, "config.json");
    ASSERT_FALSE(config) << text;
    EXPECT_EQ(config.error().code, ErrorCode::kCorrupt) << text;
    EXPECT_THAT(config.error().message, testing::StartsWith("config.json: "));
  }
  const auto twice = parse_model_config(R"({"hc_mult": 4, "hc_mult": 2})", "c");
  ASSERT_FALSE(twice);
  EXPECT_EQ(twice.error().message, "c: has the key 'hc_mult' twice");
  const std::string nested = R"({"a":)" + std::string(40, '[') + std::string(40, ']') + "}";
  const auto deep = parse_model_config(nested, "c");
  ASSERT_FALSE(deep);
  EXPECT_EQ(deep.error().message, "c: is nested deeper than 32 levels");
  const auto big = parse_model_config(std::string((1 << 20) + 1, ' '), "c");
  ASSERT_FALSE(big);
  EXPECT_EQ(big.error().code, ErrorCode::kResourceExhausted);
}

}  // namespace
}  // namespace hadal::formats
