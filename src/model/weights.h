#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "formats/drafter_kind.h"
#include "formats/model_config.h"
#include "formats/weight_source.h"
#include "ops/backend.h"

namespace hadal::model {

/// RMSNorm, gated pooling of one layer's rows into compressed entries (spec/model.md 2.5).
struct CompressorWeights {
  ops::Weight wkv;    // [c C, hidden_size]
  ops::Weight wgate;  // [c C, hidden_size]
  ops::Weight ape;    // [ratio, c C]
  ops::Weight norm;   // [C]
};

struct IndexerWeights {
  ops::Weight wq_b;          // [index_n_heads index_head_dim, q_lora_rank]
  ops::Weight weights_proj;  // [index_n_heads, hidden_size]
  CompressorWeights compressor;
};

struct AttentionWeights {
  std::int64_t compress_ratio = 0;
  ops::Weight wq_a, q_norm, wq_b;  // [q_lora_rank, hidden_size], [q_lora_rank], [H D, q_lora_rank]
  ops::Weight wkv, kv_norm;        // [D, hidden_size], [D]
  ops::Weight sink;                // [H]
  ops::Weight wo_a, wo_b;          // [o_groups o_lora_rank, H D / o_groups], [hidden_size, o_groups o_lora_rank]
  CompressorWeights compressor;    // compress_ratio != 0
  IndexerWeights indexer;          // compress_ratio == 4
};

struct MoeWeights {
  ops::Weight gate;                             // [E, hidden_size]
  ops::Weight bias;                             // [E]; absent in hash layers
  ops::Weight token_experts;                    // tid2eid [vocab_size, K]; hash layers only
  std::vector<ops::Weight> w1, w3, w2;          // a routed expert each
  ops::Weight shared_w1, shared_w3, shared_w2;  // [inter, hidden], [inter, hidden], [hidden, inter]
  [[nodiscard]] ops::ExpertWeights experts() const;
};

struct HyperConnectionWeights {
  ops::Weight fn, base, scale;
};

struct LayerWeights {
  HyperConnectionWeights hc_attention, hc_ffn;
  ops::Weight attention_norm, ffn_norm;  // [hidden_size]
  AttentionWeights attention;
  MoeWeights moe;
};

/// The drafter's own tensors beside its layers (spec/model.md 2.9, spec/dspark.md 2).
struct DrafterWeights {
  formats::DrafterShape shape;
  std::vector<LayerWeights> layers;
  HyperConnectionWeights hc_head;
  ops::Weight norm;
  ops::Weight enorm, hnorm, e_proj, h_proj;           // MTP
  ops::Weight main_proj, main_norm;                   // DSpark
  ops::Weight markov_w1, markov_w2, confidence_proj;  // DSpark
  ops::Weight embed, head;                            // the main model's, unless the drafter brings its own
};

struct ModelWeights {
  ops::Weight embed, head, norm;
  HyperConnectionWeights hc_head;
  std::vector<LayerWeights> layers;
  DrafterWeights drafter;

  /// Collects and prepares every tensor of a source whose tensor table was found to be valid.
  /// Errors: kNotFound, kResourceExhausted, kUnsupported.
  [[nodiscard]] static Result<ModelWeights> load(const formats::WeightSource& source,
                                                 const formats::ModelConfig& config,
                                                 const formats::DrafterShape& drafter, ops::Backend& backend);
};

}  // namespace hadal::model
