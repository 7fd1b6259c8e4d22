#include "model/weights.h"

#include <fmt/core.h>

#include <utility>

namespace hadal::model {
namespace {

/// Takes tensors by name and prepares them; the first failure is kept and makes the rest no-ops.
class Loader {
 public:
  Loader(const formats::WeightSource& source, ops::Backend& backend) : source_(source), backend_(backend) {}

  /// The tensor `name` alone.
  ops::Weight plain(const std::string& name) { return prepare({.codes = view(name)}); }

  /// `prefix`.weight with `prefix`.scale, if there is one.
  ops::Weight linear(const std::string& prefix) {
    ops::Weight host{.codes = view(prefix + ".weight")};
    const std::string scale = prefix + ".scale";
    if (source_.contains(scale)) host.scales = view(scale);
    return prepare(host);
  }

  [[nodiscard]] bool contains(const std::string& name) const { return source_.contains(name); }
  [[nodiscard]] const Status& status() const { return status_; }

 private:
  TensorView view(const std::string& name) {
    if (!status_) return {};
    auto found = source_.tensor(name);
    if (!found) {
      status_ = tl::unexpected<Error>(std::move(found).error());
      return {};
    }
    // Bytes of type I8 with two dimensions are pairs of FP4 codes; nothing else in a checkpoint has that type.
    const DType type = found->type == DType::kI8 ? DType::kE2m1x2 : found->type;
    return {const_cast<std::byte*>(found->data), type, found->shape};
  }

  ops::Weight prepare(const ops::Weight& host) {
    if (!status_) return {};
    auto prepared = backend_.prepare(host);
    if (!prepared) {
      status_ = tl::unexpected<Error>(std::move(prepared).error());
      return {};
    }
    return *prepared;
  }

  const formats::WeightSource& source_;
  ops::Backend& backend_;
  Status status_;
};

CompressorWeights load_compressor(Loader& loader, const std::string& prefix) {
  return {.wkv = loader.linear(prefix + "wkv"),
          .wgate = loader.linear(prefix + "wgate"),
          .ape = loader.plain(prefix + "ape"),
          .norm = loader.plain(prefix + "norm.weight")};
}

HyperConnectionWeights load_hyper_connection(Loader& loader, const std::string& prefix) {
  return {.fn = loader.plain(prefix + "fn"),
          .base = loader.plain(prefix + "base"),
          .scale = loader.plain(prefix + "scale")};
}

AttentionWeights load_attention(Loader& loader, const std::string& prefix, std::int64_t compress_ratio) {
  AttentionWeights weights{.compress_ratio = compress_ratio,
                           .wq_a = loader.linear(prefix + "wq_a"),
                           .q_norm = loader.plain(prefix + "q_norm.weight"),
                           .wq_b = loader.linear(prefix + "wq_b"),
                           .wkv = loader.linear(prefix + "wkv"),
                           .kv_norm = loader.plain(prefix + "kv_norm.weight"),
                           .sink = loader.plain(prefix + "attn_sink"),
                           .wo_a = loader.linear(prefix + "wo_a"),
                           .wo_b = loader.linear(prefix + "wo_b"),
                           .compressor = {},
                           .indexer = {}};
  if (compress_ratio != 0) weights.compressor = load_compressor(loader, prefix + "compressor.");
  if (compress_ratio == 4) {
    weights.indexer = {.wq_b = loader.linear(prefix + "indexer.wq_b"),
                       .weights_proj = loader.linear(prefix + "indexer.weights_proj"),
                       .compressor = load_compressor(loader, prefix + "indexer.compressor.")};
  }
  return weights;
}

MoeWeights load_moe(Loader& loader, const std::string& prefix, std::int64_t experts, bool hash_routing) {
  MoeWeights weights;
  weights.gate = loader.linear(prefix + "gate");
  if (hash_routing) {
    weights.token_experts = loader.plain(prefix + "gate.tid2eid");
  } else {
    weights.bias = loader.plain(prefix + "gate.bias");
  }
  for (std::int64_t expert = 0; expert < experts; ++expert) {
    const std::string name = fmt::format("{}experts.{}.", prefix, expert);
    weights.w1.push_back(loader.linear(name + "w1"));
    weights.w3.push_back(loader.linear(name + "w3"));
    weights.w2.push_back(loader.linear(name + "w2"));
  }
  weights.shared_w1 = loader.linear(prefix + "shared_experts.w1");
  weights.shared_w3 = loader.linear(prefix + "shared_experts.w3");
  weights.shared_w2 = loader.linear(prefix + "shared_experts.w2");
  return weights;
}

LayerWeights load_layer(Loader& loader, const std::string& prefix, const formats::ModelConfig& config,
                        std::int64_t compress_ratio, bool hash_routing) {
  return {.hc_attention = load_hyper_connection(loader, prefix + "hc_attn_"),
          .hc_ffn = load_hyper_connection(loader, prefix + "hc_ffn_"),
          .attention_norm = loader.plain(prefix + "attn_norm.weight"),
          .ffn_norm = loader.plain(prefix + "ffn_norm.weight"),
          .attention = load_attention(loader, prefix + "attn.", compress_ratio),
          .moe = load_moe(loader, prefix + "ffn.", config.n_routed_experts, hash_routing)};
}

DrafterWeights load_drafter(Loader& loader, const formats::ModelConfig& config, const formats::DrafterShape& shape,
                            const ModelWeights& main) {
  DrafterWeights drafter;
  drafter.shape = shape;
  if (shape.kind == formats::DrafterKind::kNone) return drafter;
  for (std::int64_t stage = 0; stage < shape.stages; ++stage) {
    drafter.layers.push_back(load_layer(loader, fmt::format("mtp.{}.", stage), config, 0, false));
  }
  const std::string first = "mtp.0.";
  const std::string last = fmt::format("mtp.{}.", shape.stages - 1);
  drafter.hc_head = load_hyper_connection(loader, last + "hc_head_");
  drafter.norm = loader.plain(last + "norm.weight");
  drafter.embed = loader.contains(first + "embed.weight") ? loader.linear(first + "embed") : main.embed;
  drafter.head = loader.contains(last + "head.weight") ? loader.linear(last + "head") : main.head;
  if (shape.kind == formats::DrafterKind::kMtp) {
    drafter.enorm = loader.plain(first + "enorm.weight");
    drafter.hnorm = loader.plain(first + "hnorm.weight");
    drafter.e_proj = loader.linear(first + "e_proj");
    drafter.h_proj = loader.linear(first + "h_proj");
  } else {
    drafter.main_proj = loader.linear(first + "main_proj");
    drafter.main_norm = loader.plain(first + "main_norm.weight");
    drafter.markov_w1 = loader.linear(last + "markov_head.markov_w1");
    drafter.markov_w2 = loader.linear(last + "markov_head.markov_w2");
    drafter.confidence_proj = loader.linear(last + "confidence_head.proj");
  }
  return drafter;
}

}  // namespace

ops::ExpertWeights MoeWeights::experts() const {
  return {.gate = w1.data(), .up = w3.data(), .down = w2.data(), .count = static_cast<std::int64_t>(w1.size())};
}

Result<ModelWeights> ModelWeights::load(const formats::WeightSource& source, const formats::ModelConfig& config,
                                        const formats::DrafterShape& drafter, ops::Backend& backend) {
  Loader loader(source, backend);
  ModelWeights weights;
  weights.embed = loader.linear("embed");
  weights.head = loader.linear("head");
  weights.norm = loader.plain("norm.weight");
  weights.hc_head = load_hyper_connection(loader, "hc_head_");
  for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    weights.layers.push_back(load_layer(loader, fmt::format("layers.{}.", layer), config,
                                        config.compress_ratios[static_cast<std::size_t>(layer)],
                                        layer < config.num_hash_layers));
  }
  weights.drafter = load_drafter(loader, config, drafter, weights);
  HADAL_TRY(loader.status());
  return weights;
}

}  // namespace hadal::model
