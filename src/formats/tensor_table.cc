#include "formats/tensor_table.h"

#include <fmt/core.h>

#include <algorithm>

#include "formats/safetensors_writer.h"
#include "tensor/scale_blocks.h"

namespace hadal::formats {
namespace {

std::int64_t blocks(std::int64_t extent, std::int64_t block) { return (extent + block - 1) / block; }

/// Appends the tensors of one shard after the other.
class Builder {
 public:
  Builder(const ModelConfig& config, const WeightFormats& formats) : c_(config), formats_(formats) {}

  std::vector<ExpectedTensor> take() { return std::move(tensors_); }
  [[nodiscard]] std::int64_t shard() const { return shard_; }

  void next_shard() {
    sort_shard();
    ++shard_;
  }

  void sort_shard() {
    std::sort(tensors_.begin() + first_of_shard_, tensors_.end(), [](const ExpectedTensor& a, const ExpectedTensor& b) {
      return official_order(a.type, a.name, b.type, b.name);
    });
    first_of_shard_ = static_cast<std::ptrdiff_t>(tensors_.size());
  }

  void plain(std::string name, DType type, Shape shape, ModelPart part) {
    tensors_.push_back({std::move(name), type, shape, part, TensorRole::kPlain, shard_});
  }

  void linear(const std::string& name, std::int64_t out, std::int64_t in, ModelPart part,
              TensorRole role = TensorRole::kLinear) {
    const DType type = role == TensorRole::kExpert ? formats_.expert : formats_.linear;
    const bool fp4 = type == DType::kI8;
    tensors_.push_back({name + ".weight", type, {out, fp4 ? in / 2 : in}, part, role, shard_});
    if (fp4) {
      tensors_.push_back({name + ".scale", DType::kE8m0, {out, in / kFp4Block}, part, TensorRole::kFp4Scale, shard_});
    } else if (type == DType::kE4m3) {
      const Shape shape{blocks(out, kFp8Tile), blocks(in, kFp8Tile)};
      tensors_.push_back({name + ".scale", formats_.scale, shape, part, TensorRole::kFp8Scale, shard_});
    }
  }

  void hyper_connection(const std::string& prefix, std::int64_t rows, std::int64_t scales, ModelPart part) {
    plain(prefix + "fn", DType::kF32, {rows, c_.hc_mult * c_.hidden_size}, part);
    plain(prefix + "base", DType::kF32, {rows}, part);
    plain(prefix + "scale", DType::kF32, {scales}, part);
  }

  void head_connection(const std::string& prefix, ModelPart part) {
    hyper_connection(prefix + "hc_head_", c_.hc_mult, 1, part);
  }

  void layer(const std::string& prefix, std::int64_t ratio, bool hash_routing, bool drafter) {
    const auto part = [drafter](ModelPart own) { return drafter ? ModelPart::kDrafter : own; };
    const std::int64_t mixes = (2 + c_.hc_mult) * c_.hc_mult;
    plain(prefix + "attn_norm.weight", DType::kBf16, {c_.hidden_size}, part(ModelPart::kNorms));
    plain(prefix + "ffn_norm.weight", DType::kBf16, {c_.hidden_size}, part(ModelPart::kNorms));
    hyper_connection(prefix + "hc_attn_", mixes, 3, part(ModelPart::kHyperConnection));
    hyper_connection(prefix + "hc_ffn_", mixes, 3, part(ModelPart::kHyperConnection));
    attention(prefix + "attn.", part(ModelPart::kAttention));
    if (ratio != 0) {
      compressor(prefix + "attn.compressor.", ratio, c_.head_dim, part(ModelPart::kCompressor));
    }
    if (ratio == 4) indexer(prefix + "attn.indexer.", ratio, part(ModelPart::kIndexer));
    mixture(prefix + "ffn.", hash_routing, part(ModelPart::kGate), part(ModelPart::kRoutedExperts),
            part(ModelPart::kSharedExpert));
  }

  void mtp() {
    for (const char* norm : {"mtp.0.enorm.weight", "mtp.0.hnorm.weight", "mtp.0.norm.weight"}) {
      plain(norm, DType::kBf16, {c_.hidden_size}, ModelPart::kDrafter);
    }
    linear("mtp.0.e_proj", c_.hidden_size, c_.hidden_size, ModelPart::kDrafter);
    linear("mtp.0.h_proj", c_.hidden_size, c_.hidden_size, ModelPart::kDrafter);
    head_connection("mtp.0.", ModelPart::kDrafter);
  }

  void dspark_first() {
    const auto targets = static_cast<std::int64_t>(c_.dspark.target_layer_ids.size());
    linear("mtp.0.main_proj", c_.hidden_size, targets * c_.hidden_size, ModelPart::kDrafter);
    plain("mtp.0.main_norm.weight", DType::kBf16, {c_.hidden_size}, ModelPart::kDrafter);
  }

  void dspark_last(std::int64_t stage) {
    const std::string prefix = fmt::format("mtp.{}.", stage);
    const std::int64_t rank = c_.dspark.markov_rank;
    plain(prefix + "norm.weight", DType::kBf16, {c_.hidden_size}, ModelPart::kDrafter);
    head_connection(prefix, ModelPart::kDrafter);
    plain(prefix + "markov_head.markov_w1.weight", DType::kBf16, {c_.vocab_size, rank}, ModelPart::kDrafter);
    plain(prefix + "markov_head.markov_w2.weight", DType::kBf16, {c_.vocab_size, rank}, ModelPart::kDrafter);
    plain(prefix + "confidence_head.proj.weight", DType::kBf16, {1, c_.hidden_size + rank}, ModelPart::kDrafter);
  }

 private:
  void attention(const std::string& prefix, ModelPart part) {
    const std::int64_t queries = c_.num_attention_heads * c_.head_dim;
    linear(prefix + "wq_a", c_.q_lora_rank, c_.hidden_size, part);
    plain(prefix + "q_norm.weight", DType::kBf16, {c_.q_lora_rank}, part);
    linear(prefix + "wq_b", queries, c_.q_lora_rank, part);
    linear(prefix + "wkv", c_.head_dim, c_.hidden_size, part);
    plain(prefix + "kv_norm.weight", DType::kBf16, {c_.head_dim}, part);
    plain(prefix + "attn_sink", DType::kF32, {c_.num_attention_heads}, part);
    linear(prefix + "wo_a", c_.o_groups * c_.o_lora_rank, queries / c_.o_groups, part);
    linear(prefix + "wo_b", c_.hidden_size, c_.o_groups * c_.o_lora_rank, part);
  }

  void compressor(const std::string& prefix, std::int64_t ratio, std::int64_t width, ModelPart part) {
    const std::int64_t channels = (ratio == 4 ? 2 : 1) * width;  // two overlapping windows
    plain(prefix + "ape", DType::kF32, {ratio, channels}, part);
    plain(prefix + "wkv.weight", DType::kBf16, {channels, c_.hidden_size}, part);
    plain(prefix + "wgate.weight", DType::kBf16, {channels, c_.hidden_size}, part);
    plain(prefix + "norm.weight", DType::kBf16, {width}, part);
  }

  void indexer(const std::string& prefix, std::int64_t ratio, ModelPart part) {
    linear(prefix + "wq_b", c_.index_n_heads * c_.index_head_dim, c_.q_lora_rank, part);
    plain(prefix + "weights_proj.weight", DType::kBf16, {c_.index_n_heads, c_.hidden_size}, part);
    compressor(prefix + "compressor.", ratio, c_.index_head_dim, part);
  }

  void mixture(const std::string& prefix, bool hash_routing, ModelPart gate, ModelPart routed, ModelPart shared) {
    const std::int64_t inter = c_.moe_intermediate_size;
    plain(prefix + "gate.weight", DType::kBf16, {c_.n_routed_experts, c_.hidden_size}, gate);
    if (hash_routing) {
      plain(prefix + "gate.tid2eid", DType::kI64, {c_.vocab_size, c_.num_experts_per_tok}, gate);
    } else {
      plain(prefix + "gate.bias", DType::kF32, {c_.n_routed_experts}, gate);
    }
    for (std::int64_t expert = 0; expert < c_.n_routed_experts; ++expert) {
      const std::string name = fmt::format("{}experts.{}.", prefix, expert);
      linear(name + "w1", inter, c_.hidden_size, routed, TensorRole::kExpert);
      linear(name + "w2", c_.hidden_size, inter, routed, TensorRole::kExpert);
      linear(name + "w3", inter, c_.hidden_size, routed, TensorRole::kExpert);
    }
    linear(prefix + "shared_experts.w1", inter, c_.hidden_size, shared);
    linear(prefix + "shared_experts.w2", c_.hidden_size, inter, shared);
    linear(prefix + "shared_experts.w3", inter, c_.hidden_size, shared);
  }

  const ModelConfig& c_;
  WeightFormats formats_;
  std::vector<ExpectedTensor> tensors_;
  std::ptrdiff_t first_of_shard_ = 0;
  std::int64_t shard_ = 1;
};

}  // namespace

std::string_view name(ModelPart part) {
  constexpr std::array<std::string_view, kModelParts> kNames = {
      "embedding", "layer norms",    "attention",     "compressor", "indexer", "hyper-connections",
      "gate",      "routed experts", "shared expert", "head",       "drafter"};
  return kNames[static_cast<std::size_t>(part)];
}

Result<TensorTable> TensorTable::make(const ModelConfig& config, const DrafterShape& drafter,
                                      const WeightFormats& formats) {
  if (formats.expert == DType::kI8 &&
      (config.hidden_size % kFp4Block != 0 || config.moe_intermediate_size % kFp4Block != 0)) {
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("FP4 experts need hidden_size and moe_intermediate_size to be multiples of {}, but they are "
                    "{} and {}",
                    kFp4Block, config.hidden_size, config.moe_intermediate_size));
  }
  Builder builder(config, formats);
  builder.plain("embed.weight", DType::kBf16, {config.vocab_size, config.hidden_size}, ModelPart::kEmbedding);
  for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    builder.next_shard();
    builder.layer(fmt::format("layers.{}.", layer), config.compress_ratios[static_cast<std::size_t>(layer)],
                  layer < config.num_hash_layers, false);
  }
  builder.next_shard();
  builder.plain("norm.weight", DType::kBf16, {config.hidden_size}, ModelPart::kNorms);
  builder.plain("head.weight", DType::kBf16, {config.vocab_size, config.hidden_size}, ModelPart::kHead);
  builder.head_connection("", ModelPart::kHyperConnection);
  for (std::int64_t stage = 0; stage < drafter.stages; ++stage) {
    builder.next_shard();
    builder.layer(fmt::format("mtp.{}.", stage), 0, false, true);
    if (drafter.kind == DrafterKind::kMtp) builder.mtp();
    if (drafter.kind == DrafterKind::kDSpark && stage == 0) builder.dspark_first();
    if (drafter.kind == DrafterKind::kDSpark && stage == drafter.stages - 1) builder.dspark_last(stage);
  }
  builder.sort_shard();
  TensorTable table;
  table.shards = builder.shard();
  table.tensors = builder.take();
  return table;
}

Totals totals(const TensorTable& table, const ModelConfig& config, const WeightSource* source) {
  Totals sums;
  for (const ExpectedTensor& expected : table.tensors) {
    DType type = expected.type;
    Shape shape = expected.shape;
    if (source != nullptr) {
      const auto found = source->tensor(expected.name);
      if (!found) continue;
      type = found->type;
      shape = found->shape;
    }
    PartTotals& sum = sums[static_cast<std::size_t>(expected.part)];
    ++sum.tensors;
    sum.bytes += shape.elements() * size_of(type);
    sum.types |= 1U << static_cast<unsigned>(type);
    const bool scale = expected.role == TensorRole::kFp8Scale || expected.role == TensorRole::kFp4Scale;
    if (scale || type == DType::kI64) continue;
    sum.parameters += shape.elements() * (type == DType::kI8 ? 2 : 1);
  }
  for (PartTotals& sum : sums) sum.active_parameters = sum.parameters;
  PartTotals& routed = sums[static_cast<std::size_t>(ModelPart::kRoutedExperts)];
  routed.active_parameters = routed.parameters / config.n_routed_experts * config.num_experts_per_tok;
  PartTotals& embedding = sums[static_cast<std::size_t>(ModelPart::kEmbedding)];
  embedding.active_parameters = embedding.parameters / config.vocab_size;
  return sums;
}

PartTotals main_model(const Totals& totals) {
  PartTotals sum;
  for (std::size_t part = 0; part < kModelParts; ++part) {
    if (static_cast<ModelPart>(part) == ModelPart::kDrafter) continue;
    sum.tensors += totals[part].tensors;
    sum.bytes += totals[part].bytes;
    sum.parameters += totals[part].parameters;
    sum.active_parameters += totals[part].active_parameters;
    sum.types |= totals[part].types;
  }
  return sum;
}

}  // namespace hadal::formats
