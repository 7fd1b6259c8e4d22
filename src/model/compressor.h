#pragma once

#include <cstdint>

#include "base/result.h"
#include "model/attention.h"
#include "model/step.h"
#include "model/weights.h"

namespace hadal::model {

/// How entries are rounded for the cache (spec/model.md 2.5, last lines).
enum class EntryRows : std::uint8_t {
  kKeyValue,  // FP8 in blocks of 64 on the channels without rotation
  kIndexer,   // Hadamard, then FP4 in blocks of 32 on all channels
};

/// One compressor with the places of its state.
struct Compressor {
  const CompressorWeights& weights;
  std::int64_t ratio;
  TensorView value_ring, gate_ring;  // [slots, ring rows, c C]
  TensorView pages;                  // [pages, 128 / ratio, C]
  EntryRows rows;
};

/// Fills this step's rows value, gate [T, c C] from x [T, hidden_size], pools the blocks they complete, appends the
/// entries. Returns the pooled blocks [blocks, C] real before their norm; they are overwritten unless activations are
/// kept.
[[nodiscard]] Result<TensorView> compress(Step& step, const Compressor& compressor, std::int64_t layer,
                                          const TensorView& x, const TensorView& value, const TensorView& gate);

/// The indexer (spec/model.md 2.6): appends its own entries, scores all visible ones for each row and chooses.
/// `latent` is the normalised query latent [T, q_lora_rank].
[[nodiscard]] Result<IndexerActivations> select_entries(Step& step, const IndexerWeights& weights,
                                                        const LayerState& state, std::int64_t layer,
                                                        const TensorView& x, const TensorView& latent,
                                                        const LayerRows& rows);

/// rows [R, head_dim] real -> out in the cache's type, FP8-simulated where the profile says so.
[[nodiscard]] Status round_cache_rows(Step& step, const TensorView& rows, const TensorView& out);

}  // namespace hadal::model
